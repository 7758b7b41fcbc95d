"""Build report: what a build child says, checked before the server believes its form.

The child ran a stranger's code, so its answer is input from outside: sizes are bounded,
unknown keys are dropped, and text is made printable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pushserve_runtime.signature import Feature, OutputSpec, Signature
from pushserve_server.domain.door_trial import trials_from_json
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import DeploymentFailed

_MAX_SIGNATURE: Final = 4 * 1024**2
_MAX_FEATURES: Final = 20_000
_MAX_OUTPUTS: Final = 32  # bits of the mask in a PREDICT frame
_MAX_CLASSES: Final = 100_000
_MAX_COLUMNS: Final = 1_000_000
_MAX_NAME: Final = 1024
_MAX_MESSAGE: Final = 4000
_MAX_LOG: Final = 16_384
_MAX_LINES: Final = 50
_INT64: Final = 2**63


def clean_text(value: object, limit: int = _MAX_MESSAGE) -> str:
    """Give text from the child as printable text of at most `limit` characters; "" for no text."""
    text = value[:limit] if isinstance(value, str) else ""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _clean(limit: int) -> AfterValidator:
    return AfterValidator(lambda value: clean_text(value, limit))


def _first(count: int) -> BeforeValidator:
    """Look at so many items of a list or an object only."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return dict(islice(value.items(), count))
        return value[:count] if isinstance(value, list) else value

    return BeforeValidator(cut)


_Line = Annotated[str, _clean(500)]
_Seconds = Annotated[float, Field(allow_inf_nan=False)]


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")

    engine_reason: Annotated[str, _clean(1000)] = ""
    fast_path: _Line = ""
    joins_calls: bool = False
    format: _Line = ""
    estimator: _Line = ""
    sklearn: _Line = ""
    examples_checked: Annotated[int, Field(ge=0, le=2**31)] = 0
    timings: Annotated[dict[_Line, _Seconds], _first(_MAX_LINES)] = {}
    warnings: Annotated[list[_Line], _first(_MAX_LINES)] = []
    log: Annotated[str, _clean(_MAX_LOG)] = ""


def read_report(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give the report with its known keys only.

    Raises:
        DeploymentFailed: it does not have that form.
    """
    try:
        report = _Report.model_validate(answer.get("report") or {})
    except ValidationError as error:
        raise invalid_answer(f"report: {error.error_count()} mistakes") from None
    return report.model_dump()


def read_door_trials(answer: Mapping[str, Any], signature: Signature) -> list[dict[str, Any]]:
    """Give rows and answers for the doors, as they are stored.

    Raises:
        DeploymentFailed: they do not have that form.
    """
    data = answer.get("door_trials") or []
    try:
        trials_from_json(data, signature)
    except (ValueError, TypeError, RecursionError) as error:
        raise invalid_answer(f"door trials: {clean_text(str(error), 200)}") from None
    return list(data)


def read_engine(answer: Mapping[str, Any]) -> EngineName:
    """Give the engine.

    Raises:
        DeploymentFailed: it is none that there is.
    """
    try:
        return EngineName(answer["engine"])
    except (KeyError, ValueError, TypeError):
        raise invalid_answer("engine") from None


def read_signature(answer: Mapping[str, Any]) -> Signature:
    """Give the signature, checked.

    Raises:
        DeploymentFailed: it does not have that form, or contradicts itself.
    """
    try:
        if len(json.dumps(answer["signature"])) > _MAX_SIGNATURE:
            raise DeploymentFailed(
                "SIGNATURE_TOO_LARGE",
                f"the model's signature takes more than {_MAX_SIGNATURE} bytes",
                "Use fewer features, classes or categories.",
            )
        signature = Signature.from_json(answer["signature"])
        _check_signature(signature)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise invalid_answer(f"signature: {clean_text(str(error), 200)}") from None
    return signature


def _check_signature(signature: Signature) -> None:
    _check_names([feature.name for feature in signature.inputs], _MAX_FEATURES)
    outputs = [output.name for output in signature.outputs]
    _check_names(outputs, _MAX_OUTPUTS)
    _check_names(list(signature.default_outputs), _MAX_OUTPUTS)
    if not set(signature.default_outputs) <= set(outputs):
        raise ValueError("default outputs that do not exist")
    for feature in signature.inputs:
        _check_categories(feature)
    for output in signature.outputs:
        _check_output(output)


def _check_names(names: list[str], most: int) -> None:
    if len(names) > most or len(set(names)) != len(names):
        raise ValueError(f"more than {most} names, or names twice")
    for name in names:
        _check_text(name)
        if not 0 < len(name) <= _MAX_NAME:
            raise DeploymentFailed(
                "SIGNATURE_INVALID",
                f"an input or output of the model has a name of {len(name):,} characters: "
                f"{clean_text(name, 40)!r}; a name has 1 to {_MAX_NAME:,}",
                "Rename the column, and fit the model again.",
            )


def _check_text(text: str) -> None:
    text.encode()  # raises ValueError for half of a pair of surrogates, which no database takes
    if "\0" in text:
        raise ValueError("a text that holds a zero byte")


def _check_categories(feature: Feature) -> None:
    for value in feature.categories:
        if isinstance(value, str):
            _check_text(value)
        elif not isinstance(value, int | float):
            raise TypeError("a category that is neither text nor a number")
        elif not -_INT64 <= value < _INT64:  # nor is NaN
            raise ValueError("a category that is no finite number of 64 bits")


def _check_output(output: OutputSpec) -> None:
    if not 0 <= output.columns <= _MAX_COLUMNS or len(output.classes) > _MAX_CLASSES:
        raise ValueError("an output of impossible size")
    for name in output.classes:
        _check_text(name)


def invalid_answer(what: str) -> DeploymentFailed:
    """Say that the child gave something that no build gives (its code may have been changed)."""
    return DeploymentFailed(
        "BUILD_ANSWER_INVALID",
        f"the build's answer does not have the right form ({what})",
        "The model's code must not write to file descriptors that it did not open.",
    )
