"""Repository contract: which of a folder's files make the model.

The rules, in the order in which they decide:

1. The manifest's `artifact` is the artifact. `artifact = "predict.py"` says: no artifact.
2. `predict.py` makes a version that runs it. An artifact beside it is what it may load
   (`model.pkl` and `predict.py` are the old platform's form).
3. `MLmodel` is an MLflow folder, which is refused for now.
4. `model.skops`, `model.onnx`, `model.joblib`, `model.pkl`: exactly one of them, in small letters
   or capitals.
5. None of these: exactly one other file at the folder's root with one of these endings
   (or `.pickle`), likewise, so that `iris.joblib` needs no manifest.
6. None of these either: exactly one with a less usual ending of a pickle (`.sav`, `.pkl.gz`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from pushserve_runtime.build_error import listed
from pushserve_runtime.closest_name import did_you_mean
from pushserve_runtime.job_spec import ENDINGS, OTHER_ENDINGS, SAFE_FORMATS, Format, format_of
from pushserve_server.build.manifest import FILE_NAME, Manifest, Tolerance
from pushserve_server.domain.records import Trust
from pushserve_server.errors import DeploymentFailed

_STANDARD: Final[tuple[str, ...]] = ("model.skops", "model.onnx", "model.joblib", "model.pkl")
_EXAMPLES: Final = ("examples.json", "test_data.json")
_PREDICT: Final = str(Format.SCRIPT)
_REQUIREMENTS: Final = "requirements.txt"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What to build from a folder.

    File names are from the model's folder; `artifact` is None only for a `predict.py` that has
    none. `declared` is the manifest's part of the signature as plain JSON. `beside` are other
    model files of the folder, which nothing uses.
    """

    format: Format
    artifact: str | None
    predict_py: bool
    requirements: str | None
    examples: str | None
    name: str | None
    engine: str
    workers: int
    independent_rows: bool | None
    repeatable: bool
    tolerance: Tolerance
    declared: dict[str, Any] | None
    beside: tuple[str, ...] = ()


def find_model_files(
    files: Sequence[str], manifest: Manifest, trust: Trust, source: str
) -> ModelFiles:
    """Decide what a folder's files mean; `source` is only shown in the operator's lines.

    Raises:
        DeploymentFailed: ARTIFACT_MISSING, ARTIFACT_AMBIGUOUS, FORMAT_NOT_TRUSTED,
            FORMAT_UNKNOWN, EXAMPLES_MISSING, ENGINE_NOT_POSSIBLE or MLFLOW_NOT_YET.
    """
    present = frozenset(files)
    # A script beside a model that the manifest names is one for the command line, say.
    predict_py = _PREDICT in present and manifest.artifact in (None, _PREDICT)
    artifact = _find_artifact(present, manifest, predict_py)
    kind = Format.SCRIPT if predict_py else _format_of(artifact)
    _check_trust(kind, trust, source)
    _check_engine(kind, manifest.engine)
    declared = manifest.signature.model_dump(mode="json", exclude_none=True)
    return ModelFiles(
        format=kind,
        artifact=artifact,
        predict_py=predict_py,
        requirements=_REQUIREMENTS if _REQUIREMENTS in present else None,
        examples=_find_examples(present, manifest),
        name=manifest.name,
        engine=manifest.engine,
        workers=manifest.workers,
        independent_rows=manifest.independent_rows,
        repeatable=manifest.repeatable,
        tolerance=manifest.tolerance,
        declared=declared or None,
        beside=() if predict_py or manifest.artifact else _beside(present, artifact),
    )


def _beside(present: frozenset[str], artifact: str | None) -> tuple[str, ...]:
    """Name the other model files at the folder's root."""
    others = (name for name in present if "/" not in name and name != artifact)
    return tuple(sorted(name for name in others if format_of(name) is not None))


def _find_artifact(present: frozenset[str], manifest: Manifest, predict_py: bool) -> str | None:
    if manifest.artifact is not None:
        return _named_artifact(present, manifest.artifact)
    if "MLmodel" in present and not predict_py:
        raise DeploymentFailed(
            "MLFLOW_NOT_YET",
            "the folder is an MLflow model (it has an MLmodel file), which is not read yet",
            f'Name the model file in {FILE_NAME}: artifact = "{_mlflow_artifact(present)}", and '
            "remove from requirements.txt what the model does not import, such as mlflow.",
        )
    candidates = _candidates(present)
    if len(candidates) == 1:
        return candidates[0]
    if predict_py:
        return None  # it opens what it needs by itself
    if candidates:
        raise _ambiguous(candidates)
    raise _missing(present)


def _mlflow_artifact(present: frozenset[str]) -> str:
    """Name the file that `mlflow.sklearn` saved."""
    found = sorted(name for name in present if format_of(name) is not None)
    return next((name for name in found if "model" in name), "model.pkl")


def _named_artifact(present: frozenset[str], name: str) -> str | None:
    if name not in present:
        raise DeploymentFailed(
            "ARTIFACT_MISSING",
            did_you_mean(
                f"{FILE_NAME} names the artifact {name}, which is not in the folder; "
                f"there are: {_listing(present)}",
                name,
                present,
            ),
            f"Commit {name}, or correct the line artifact = … in {FILE_NAME}.",
        )
    return None if name == _PREDICT else name


def _candidates(present: frozenset[str]) -> list[str]:
    at_root = sorted(name for name in present if "/" not in name)
    standard = [name for wanted in _STANDARD for name in at_root if name.lower() == wanted]
    usual = [name for name in at_root if PurePosixPath(name).suffix.lower() in ENDINGS]
    return standard or usual or [name for name in at_root if format_of(name) is not None]


def _format_of(artifact: str | None) -> Format:
    if artifact is None:  # the manifest's artifact = "predict.py" where there is none
        raise _missing(frozenset())
    found = format_of(artifact)
    if found is None:
        raise DeploymentFailed(
            "FORMAT_UNKNOWN",
            f"{artifact} is of no format that can be served; known endings: {', '.join(ENDINGS)}, "
            f"and for pickles {', '.join(OTHER_ENDINGS)}",
            "Where it is loaded in Python, save the fitted model with joblib.dump(model, "
            "'model.joblib'), or as data alone with skops.io.dump(model, 'model.skops'), commit "
            f"that file, and name it in {FILE_NAME} or remove the line artifact = …; or load "
            f'{artifact} in a predict.py, with artifact = "predict.py".',
        )
    return found


def _find_examples(present: frozenset[str], manifest: Manifest) -> str | None:
    if manifest.examples is None:
        return next((name for name in _EXAMPLES if name in present), None)
    if manifest.examples not in present:
        raise DeploymentFailed(
            "EXAMPLES_MISSING",
            did_you_mean(
                f"{FILE_NAME} names the examples {manifest.examples}, which are not in the folder",
                manifest.examples,
                present,
            ),
            f"Commit {manifest.examples}, or correct the line examples = … in {FILE_NAME}.",
        )
    return manifest.examples


def _check_trust(kind: Format, trust: Trust, source: str) -> None:
    if trust is Trust.CODE or kind in SAFE_FORMATS:
        return
    what = "a predict.py" if kind is Format.SCRIPT else f"a {kind} file"
    instead = (
        "Remove predict.py and commit the model as model.skops (skops.io.dump) or model.onnx"
        if kind is Format.SCRIPT
        else "Save the model with skops.io.dump(model, 'model.skops') or export it to model.onnx, "
        "and remove the old file"
    )
    raise DeploymentFailed(
        "FORMAT_NOT_TRUSTED",
        f"{what} runs code when it is loaded, and this source is trusted with data only",
        f"{instead}; or ask the server's operator to trust the source with code:\n"
        f'[[sources]]\nurl = "{source}"\ntrust = "code"',
    )


def _check_engine(kind: Format, engine: str) -> None:
    if engine == "onnx" and kind is Format.SCRIPT:
        raise DeploymentFailed(
            "ENGINE_NOT_POSSIBLE",
            f'{FILE_NAME} asks for engine = "onnx", and a predict.py is Python code, '
            "which no graph is made of",
            f'Set engine = "auto" in {FILE_NAME}; or remove predict.py if the model alone will do.',
        )


def _missing(present: frozenset[str]) -> DeploymentFailed:
    return DeploymentFailed(
        "ARTIFACT_MISSING",
        f"the folder has no model file; looked for {', '.join(_STANDARD)}, predict.py, and any one "
        f"file ending in {', '.join(ENDINGS)}; there are: {_listing(present)}",
        "Commit the model as model.skops, model.onnx, model.joblib or model.pkl, or name its "
        f'file in {FILE_NAME}: artifact = "…". A model in another folder is registered with '
        "that folder's path.",
    )


def _ambiguous(candidates: list[str]) -> DeploymentFailed:
    return DeploymentFailed(
        "ARTIFACT_AMBIGUOUS",
        f"the folder holds {len(candidates)} models: {listed(candidates)}",
        f'Remove all but one, or say which one in {FILE_NAME}:\nartifact = "{candidates[0]}"',
    )


def _listing(present: frozenset[str]) -> str:
    return listed(sorted(present)) or "no files"
