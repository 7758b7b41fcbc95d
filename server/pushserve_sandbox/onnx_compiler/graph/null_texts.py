"""Null texts: encoders prepared for graphs, where a missing text is a text of its own."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from pushserve_runtime.onnx_predictor import NULL_TEXT


def with_null_texts(estimator: Any) -> Any:
    """Give an estimator whose encoders know the null text where they know a missing value.

    It is a copy, unless nothing has to be changed.
    """
    if not _encoders(estimator):
        return estimator
    copied = copy.deepcopy(estimator)
    for encoder in _encoders(copied):
        encoder.categories_ = [_renamed(values) for values in encoder.categories_]
    return copied


def _encoders(estimator: Any) -> list[Any]:
    """Every encoder in an estimator that has a missing value among its texts."""
    found, todo = [], [estimator]
    while todo:
        item = todo.pop()
        if isinstance(item, list | tuple):
            todo.extend(part for part in item if isinstance(part, list | tuple | BaseEstimator))
        elif isinstance(item, BaseEstimator):
            categories = getattr(item, "categories_", None)
            if isinstance(categories, list) and any(_has_missing(part) for part in categories):
                found.append(item)
            todo.extend(vars(item).values())
    return found


def _has_missing(values: Any) -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.dtype == object
        and any(isinstance(item, str) for item in values)
        and any(not isinstance(item, str) for item in values)
    )


def _renamed(values: Any) -> Any:
    if not _has_missing(values):
        return values
    changed = values.copy()
    changed[[not isinstance(item, str) for item in values]] = NULL_TEXT
    return changed
