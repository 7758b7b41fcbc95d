"""Nested estimators: those that answer inside of an estimator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from sklearn.pipeline import Pipeline

_NAMES: Final = ("estimators_", "estimator_", "regressor_", "calibrated_classifiers_", "estimator")
_MOST: Final = 20


def inner_estimators(estimator: Any) -> list[Any]:
    """Give the fitted estimators in one that votes, thresholds, scales a target, and so on."""
    found: list[Any] = []
    todo = [getattr(estimator, name) for name in _NAMES if hasattr(estimator, name)]
    while todo and len(found) < _MOST:
        item = todo.pop(0)
        if isinstance(item, list | tuple):
            todo = [*item, *todo]
        elif isinstance(item, np.ndarray) and item.dtype == object:
            todo = [*item.reshape(-1).tolist(), *todo]
        elif _is_fitted(item):
            found.append(item)
    return found


def _is_fitted(item: Any) -> bool:
    """Whether it is no text, no template that others were copied from, and no class."""
    if isinstance(item, str | type) or item is None:
        return False
    if isinstance(item, Pipeline):
        return any(_is_fitted(step) for _, step in item.steps)
    return hasattr(item, "__dict__") and (
        hasattr(item, "classes") or any(_is_result(name) for name in vars(item))
    )


def _is_result(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def ways(estimator: Any) -> Iterator[tuple[list[Any], Any]]:
    """Give each way that a row takes: the steps it goes through, and the estimator at the end.

    The ways inside of others come only where these have steps of their own.
    """
    steps, last = split(estimator)
    yield steps, last
    for inner in inner_estimators(last):
        for more, end in ways(inner):
            if more:
                yield [*steps, *more], end


def split(estimator: Any) -> tuple[list[Any], Any]:
    """Give the steps before the last one, and that one."""
    steps: list[Any] = []
    while True:
        if isinstance(estimator, Pipeline):
            steps += [step for _, step in estimator.steps[:-1]]
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return steps, estimator
