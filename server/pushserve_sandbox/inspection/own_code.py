"""Own code: the parts of an estimator that run what is no library's, or write into their input.

Nothing is known of such code. What it does with the rows of others a build has to try, and it is
handed values that nobody else will look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from pushserve_sandbox.inspection.library_types import foreign_part, reachable
from pushserve_sandbox.prediction.model_inputs import copied
from pushserve_sandbox.prediction.model_outputs import OutputFunction

METHODS: Final = (
    *("transform", "inverse_transform", "predict", "predict_proba", "predict_log_proba"),
    *("decision_function", "score_samples", "apply"),
)
"""By which rows are handed to a part, inside of an estimator."""
_LIBRARIES: Final = frozenset(
    {"sklearn", "xgboost", "lightgbm", "numpy", "scipy", "builtins", "_loss"}
)
_FIT_ALONE: Final = frozenset({"scoring", "scorer_", "score_func", "refit", "cv", "objective"})
"""Settings whose functions are not run when it predicts."""
_IN_PLACE: Final = ("copy", "copy_X", "copy_x")


def own_parts(estimator: Any) -> Iterator[Any]:
    """Give the parts that run code of people's own, each once, at any depth.

    These are objects of classes that are no library's, and a library's objects that were given a
    function: of those in a FunctionTransformer, only NumPy's element by element ones are known.
    """
    for item in reachable(estimator):
        if answers(item) and (not is_known(item) or _was_given_code(item)):
            yield item


def may_write(estimator: Any) -> bool:
    """Whether a method of it may change the values that it is handed."""
    if foreign_part(estimator):
        return True
    return any(_was_given_code(item) or _works_in_place(item) for item in reachable(estimator))


def on_own_values(
    functions: Mapping[str, OutputFunction], estimator: Any
) -> dict[str, OutputFunction]:
    """Have each function work on values of its own, where the estimator may change them."""
    if not may_write(estimator):
        return dict(functions)
    return {name: with_copy(function) for name, function in functions.items()}


def with_copy(function: OutputFunction) -> OutputFunction:
    """Have a function work on a copy of what it is handed."""
    return lambda data: function(copied(data))


def is_known(item: Any) -> bool:
    """Whether an object's class is of a library whose code is known."""
    return _is_of_library(type(item).__module__)


def answers(item: Any) -> bool:
    """Whether it is an object that rows are handed to."""
    return not isinstance(item, type) and any(hasattr(type(item), name) for name in METHODS)


def _is_of_library(module: Any) -> bool:
    return str(module or "").partition(".")[0] in _LIBRARIES


def _was_given_code(item: Any) -> bool:
    """Whether a function of people's own is among its attributes."""
    values = getattr(item, "__dict__", None)
    if not isinstance(values, dict) or not is_known(item) or isinstance(item, type):
        return False
    if type(item).__name__ == "FunctionTransformer":
        functions = (values.get("func"), values.get("inverse_func"))
        return any(not isinstance(each, np.ufunc | None) for each in functions)
    return any(_is_code(value) for name, value in values.items() if name not in _FIT_ALONE)


def _is_code(value: Any) -> bool:
    while isinstance(value, partial):
        value = value.func
    if not callable(value) or isinstance(value, type):
        return False
    return not _is_of_library(getattr(value, "__module__", None) or type(value).__module__)


def _works_in_place(item: Any) -> bool:
    values = getattr(item, "__dict__", None)
    return isinstance(values, dict) and any(values.get(name) is False for name in _IN_PLACE)
