"""Manifest: `pushserve.toml`, what a data scientist says where file names do not say it."""

from __future__ import annotations

import re
import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pushserve_runtime.build_error import printable
from pushserve_runtime.closest_name import did_you_mean
from pushserve_runtime.signature import MODEL_NAME, DType
from pushserve_server.errors import DeploymentFailed

FILE_NAME: Final = "pushserve.toml"
MAX_BYTES: Final = 64 * 1024
_MAX_DOTS: Final = 100
"""A line: of dotted keys and table heads, tomllib's work grows as the square of their parts."""
_MAX_DIGITS: Final = 1000
_LONG_NUMBER: Final = re.compile(rf"(?<![0-9A-Fa-f_])[0-9A-Fa-f_]{{{_MAX_DIGITS + 1}}}")
_MAX_MISTAKES: Final = 20
_EXAMPLE: Final = 'For example:\n  name = "iris"\n  artifact = "model.skops"\n  workers = 2'


def _check_name(value: str) -> str:
    if not MODEL_NAME.fullmatch(value):
        raise ValueError(
            'a model\'s name has lower case letters, digits, "-", "_" and ".", at most 63, '
            "and starts and ends with a letter or digit"
        )
    return value


def _check_file(value: str) -> str:
    parts = value.split("/")
    if "\\" in value or any(part in ("", ".", "..") for part in parts):
        raise ValueError('a file is named from the model\'s folder, such as "models/iris.skops"')
    return str(PurePosixPath(value))


FileName = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_check_file)]
Name = Annotated[str, AfterValidator(_check_name)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DeclaredField(_Table):
    """One input or output as the manifest declares it; what it leaves out is found out."""

    name: str = Field(min_length=1, max_length=256)
    dtype: Annotated[DType | None, Field(strict=False)] = None
    nullable: bool | None = None


class DeclaredSignature(_Table):
    """The part of the signature that the manifest fixes; the build checks it."""

    inputs: Annotated[tuple[DeclaredField, ...] | None, Field(strict=False)] = None
    outputs: Annotated[tuple[DeclaredField, ...] | None, Field(strict=False)] = None


class Tolerance(_Table):
    """How far a number may be from an example's expected one (both bounds added)."""

    abs: float = Field(default=1e-6, ge=0, allow_inf_nan=False)
    rel: float = Field(default=1e-6, ge=0, allow_inf_nan=False)


class Drift(_Table):
    """Where the rows are that live inputs will be compared with."""

    baseline: FileName | None = None


class Manifest(_Table):
    """All of `pushserve.toml`; every key may be left out."""

    name: Name | None = None
    artifact: FileName | None = None
    examples: FileName | None = None
    engine: Literal["auto", "onnx", "worker"] = "auto"
    workers: int = Field(default=1, ge=1, le=64)
    independent_rows: bool | None = None
    repeatable: bool = True
    tolerance: Tolerance = Tolerance()
    signature: DeclaredSignature = DeclaredSignature()
    drift: Drift = Drift()


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest; of a longer one, `content` may end after `MAX_BYTES` + 1 bytes.

    Raises:
        DeploymentFailed: MANIFEST_INVALID, with one line for each mistake.
    """
    values = _parse_toml(content)
    if "models" in values:
        raise DeploymentFailed(
            "MANIFEST_INVALID",
            f"{FILE_NAME} has [[models]]: several models in one manifest are not supported yet",
            f"Give each model a folder with a {FILE_NAME} of its own, and register each folder "
            "with its path.",
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise _invalid("\n".join(_mistakes(error))) from None


def _parse_toml(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise _invalid(f"it has more than {MAX_BYTES} bytes, which are not read")
    try:
        text = content.decode("utf-8-sig")
        _check_lines(text)
        return tomllib.loads(text)
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8 text") from None
    except RecursionError:
        raise _invalid("it nests arrays or tables too deep") from None
    except ValueError as error:  # also for a date that there is not
        raise _invalid(f"it is not TOML: {printable(str(error))}") from None


def _check_lines(text: str) -> None:
    """Refuse what takes tomllib long, whether or not it is inside of a string."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > _MAX_DOTS:
            raise _invalid(
                f"line {number} holds {line.count('.')} dots, and at most {_MAX_DOTS} are read; "
                "begin a new line after each item of a long list"
            )
        if _LONG_NUMBER.search(line):
            raise _invalid(f"line {number} holds a number of more than {_MAX_DIGITS} digits")


def _mistakes(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_url=False, include_input=False)[:_MAX_MISTAKES]:
        where = printable(".".join(str(part) for part in item["loc"]))
        if item["type"] == "extra_forbidden":
            known = _known_keys(item["loc"][:-1])
            text = f"{where}: no such key" + (f"; there are {', '.join(known)}" if known else "")
            lines.append(did_you_mean(text, str(item["loc"][-1]), known))
        else:
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return lines


_TABLES: Final[dict[str, type[_Table]]] = {
    "": Manifest,
    "signature": DeclaredSignature,
    "signature.inputs": DeclaredField,
    "signature.outputs": DeclaredField,
    "tolerance": Tolerance,
    "drift": Drift,
}


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    table = _TABLES.get(".".join(str(part) for part in location if isinstance(part, str)))
    return sorted(table.model_fields) if table else []


def _invalid(message: str) -> DeploymentFailed:
    return DeploymentFailed(
        "MANIFEST_INVALID",
        f"{FILE_NAME} is wrong: {message}",
        f"Correct {FILE_NAME} and push again. {_EXAMPLE}",
    )
