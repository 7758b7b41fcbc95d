"""Model inputs: from a request's arrays to what an estimator takes, by layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature
from pushserve_sandbox.compat import text_dtype

InputFunction = Callable[[Sequence[Array]], Any]


def matrix_input(arrays: Sequence[Array]) -> NDArray[Any]:
    """Give the matrix of a MATRIX request."""
    return arrays[0].values


def text_input(arrays: Sequence[Array]) -> NDArray[Any]:
    """Give the one column of texts that a vectorizer takes, [rows]."""
    return _objects(arrays[0])


def object_matrix_input(arrays: Sequence[Array]) -> NDArray[Any]:
    """Give a [rows, features] array of objects, for an estimator that knows no names."""
    return np.column_stack([_objects(array) for array in arrays])


def frame_input(features: Sequence[Feature], categorical: Sequence[bool] = ()) -> InputFunction:
    """Make the function that gives a data frame with the features' names and types.

    `categorical` are those that get pandas' type for categories.
    """
    import pandas as pd  # noqa: PLC0415 (most models are asked by matrix)

    names = [feature.name for feature in features]
    text = text_dtype()
    kinds = [
        pd.CategoricalDtype(list(feature.categories)) if chosen else None
        for feature, chosen in zip_longest(features, categorical)
    ]

    def build(arrays: Sequence[Array]) -> Any:
        columns = [
            pd.Series(_objects(array), dtype=kind or text)
            if kind or array.dtype is DType.STRING
            else _numbers(array)
            for array, kind in zip(arrays, kinds, strict=True)
        ]
        return pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False)

    return build


def _objects(array: Array) -> NDArray[Any]:
    """Values as objects, with NaN where one is null: imputers look for that."""
    if array.dtype is not DType.STRING:
        return _numbers(array).astype(object)
    if array.nulls is None:
        return array.values
    values: NDArray[Any] = array.values.copy()
    values[array.nulls] = np.nan
    return values


def _numbers(array: Array) -> NDArray[Any]:
    """Values as they are; float64 with NaN where one is null."""
    if array.nulls is None:
        return array.values
    values: NDArray[Any] = array.values.astype("<f8")
    values[array.nulls] = np.nan
    return values
