"""Job spec: what a build or a worker is told about the model in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.signature import DType, Signature
from pushserve_runtime.str_enum import StrEnum


class Format(StrEnum):
    """How a model is stored."""

    JOBLIB = "joblib"
    PICKLE = "pickle"
    SKOPS = "skops"
    ONNX = "onnx"
    SCRIPT = "predict.py"


SAFE_FORMATS: Final = frozenset({Format.SKOPS, Format.ONNX})
"""Formats that run no code when they are loaded. This is a security decision.

A source of trust `data` may bring these and nothing else; every other format, also one that is new
and named nowhere else, needs trust `code`. So a format belongs here only if whoever reads a file of
it reads data: skops builds trusted types alone, and of an ONNX graph no operator of its own runs.
"""

ENDINGS: Final[dict[str, Format]] = {
    ".skops": Format.SKOPS,
    ".onnx": Format.ONNX,
    ".joblib": Format.JOBLIB,
    ".pkl": Format.PICKLE,
    ".pickle": Format.PICKLE,
}
"""By which ending a file of a format is found. It decides once; from then on the format counts."""

OTHER_ENDINGS: Final[dict[str, Format]] = {
    **dict.fromkeys((".sav", ".pck", ".pcl", ".p"), Format.PICKLE),
    **{
        kind + packed: ENDINGS[kind]
        for kind in (".joblib", ".pkl", ".pickle")
        for packed in (".gz", ".z", ".bz2", ".xz", ".lzma")
    },
}
"""Further endings of pickles, which joblib reads compressed too. Other files have some of them, so
they are found where there is none of the above."""


def format_of(name: str) -> Format | None:
    """Give the format that a file's name tells, in capitals too; None if it does not."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    last, both = "".join(suffixes[-1:]), "".join(suffixes[-2:])
    return ENDINGS.get(last) or OTHER_ENDINGS.get(both) or OTHER_ENDINGS.get(last)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an example's numbers may be off: `|got - expected| <= abs + rel * |expected|`."""

    abs: float = 1e-6
    rel: float = 1e-6


@dataclass(frozen=True, slots=True)
class DeclaredFeature:
    """One input as the manifest has it; None where it says nothing."""

    name: str
    dtype: DType | None = None
    nullable: bool | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """The manifest's `[signature]`. Outputs are the names that become the defaults."""

    inputs: tuple[DeclaredFeature, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One model in one folder.

    `declared` is what the manifest says; `built` is the whole signature that an earlier
    build made. A worker is given `built`, so that its outputs are numbered as the
    registry has them; without it, a worker inspects the model again. `fast_path`
    likewise is the one that the build has chosen ("" for the estimator's own methods).
    `answer_limit` is the most bytes of one answer that a worker gives. `joins_calls` tells whether
    the rows of several callers may be predicted together: to a build what the manifest says of
    it, to a worker what the build has found; None where nobody says. A model that is not
    `repeatable` may answer the same row otherwise when it is asked again.
    """

    folder: Path
    format: Format
    artifact: str | None = None
    skops_trusted: tuple[str, ...] = ()
    declared: Declared = Declared()
    built: Signature | None = None
    fast_path: str | None = None
    examples: str | None = None
    tolerance: Tolerance = Tolerance()
    sklearn_pickle_check: bool = True
    engine: str = "auto"
    graph_limit: int = 512 * 1024**2
    answer_limit: int = 64 * 1024**2
    joins_calls: bool | None = None
    repeatable: bool = True

    @property
    def artifact_path(self) -> Path:
        """Where the artifact is.

        Raises:
            BuildFailed: there is none.
        """
        if self.artifact is None:
            raise BuildFailed(
                "ARTIFACT_MISSING",
                "the model's folder has no artifact",
                "commit model.skops, model.onnx, model.joblib or model.pkl",
            )
        return self.folder / self.artifact

    @property
    def artifact_format(self) -> Format:
        """How the artifact is stored; beside a predict.py, which is code anyway, by its ending."""
        if self.format is not Format.SCRIPT or self.artifact is None:
            return self.format
        return format_of(self.artifact) or Format.PICKLE

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """Build it from a job's JSON; keys that are absent have their defaults.

        A `signature` with a `layout` is one that a build made; any other is the manifest's.

        Raises:
            BuildFailed: the declared signature has no such form.
            KeyError, ValueError: the server sent something else than a spec.
        """
        signature: Mapping[str, Any] = data.get("signature") or {}
        is_built = "layout" in signature
        return cls(
            folder=Path(data["folder"]).absolute(),
            format=Format(data["format"]),
            artifact=data.get("artifact"),
            skops_trusted=tuple(data.get("skops_trusted") or ()),
            declared=Declared() if is_built else declared_from_json(signature),
            built=Signature.from_json(signature) if is_built else None,
            fast_path=data.get("fast_path"),
            examples=data.get("examples"),
            tolerance=Tolerance(**(data.get("tolerance") or {})),
            sklearn_pickle_check=bool(data.get("sklearn_pickle_check", True)),
            engine=str(data.get("engine") or "auto"),
            graph_limit=int(data.get("graph_limit") or 512 * 1024**2),
            answer_limit=int(data.get("answer_limit") or 64 * 1024**2),
            joins_calls=data.get("joins_calls"),
            repeatable=data.get("repeatable", True) is not False,
        )


def declared_from_json(data: Mapping[str, Any]) -> Declared:
    """Read a manifest's signature.

    Raises:
        BuildFailed: SIGNATURE_INVALID, a name is missing or doubled, or a dtype is unknown.
    """
    inputs = tuple(_declared_feature(item) for item in data.get("inputs") or ())
    outputs = tuple(
        item if isinstance(item, str) else str(item["name"]) for item in data.get("outputs") or ()
    )
    for names, what in (([f.name for f in inputs], "input"), (list(outputs), "output")):
        doubled = sorted(name for name, count in Counter(names).items() if count > 1)
        if doubled:
            raise BuildFailed(
                "SIGNATURE_INVALID",
                f"[signature] names the {what} {doubled[0]!r} twice",
                f"name each {what} once",
            )
    return Declared(inputs, outputs)


def _declared_feature(item: Mapping[str, Any]) -> DeclaredFeature:
    dtype, nullable = item.get("dtype"), item.get("nullable")
    if dtype is not None and dtype not in set(DType):
        raise BuildFailed(
            "SIGNATURE_INVALID",
            f"[signature] gives {item['name']!r} the dtype {dtype!r}",
            "use one of: " + ", ".join(DType),
        )
    return DeclaredFeature(
        str(item["name"]),
        None if dtype is None else DType(dtype),
        None if nullable is None else bool(nullable),
    )
