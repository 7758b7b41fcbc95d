"""Call signature of a `predict.py`'s function: whether it can be called as it will be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed

_MODEL_NAMES: Final = frozenset(
    {"model", "clf", "estimator", "classifier", "regressor", "pipeline"}
)
_FORMS: Final = {
    "predict": "predict(input: dict) -> dict, or predict(model, input: dict) -> dict",
    "predict_batch": "predict_batch(rows: list) -> list, or predict_batch(model, rows: list)",
}


def takes_model(function: Callable[..., Any], name: str) -> bool:
    """Whether the function wants the model before its rows.

    Raises:
        BuildFailed: PREDICT_SIGNATURE, it cannot be called with a row, or with both.
    """
    parameters = _parameters(function)
    if parameters is None:
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional if p.default is p.empty]
    most = 2 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise _wrong(name, "is async")
    if inspect.isgeneratorfunction(function):
        raise _wrong(name, "yields instead of returning")
    if missing:
        raise _wrong(name, f"wants the keyword argument {missing[0]!r}")
    if not most:
        raise _wrong(name, "takes no argument")
    if len(required) > 2:
        raise _wrong(name, f"wants {len(required)} arguments: {', '.join(required)}")
    if len(required) == 2 and required[1] in _MODEL_NAMES and required[0] not in _MODEL_NAMES:
        raise _wrong(name, f"takes the model second: {', '.join(required)}")
    return len(required) == 2


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # code of C may not tell
        return None


def _wrong(name: str, what: str) -> BuildFailed:
    return BuildFailed("PREDICT_SIGNATURE", f"predict.py's {name} {what}", f"define {_FORMS[name]}")
