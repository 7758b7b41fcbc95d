"""Output arrays: what a model gave, brought into arrays for frames. Needs NumPy alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array, number_array
from pushserve_runtime.signature import DType

COLUMNS_LIMIT: Final = 10_000


class NotAnOutput(ValueError):
    """A function's result is no [rows] or [rows, columns] of numbers or texts."""


def dense(result: Any, rows: int) -> NDArray[Any]:
    """Bring what an output function gave into an array of shape [rows] or [rows, columns].

    Raises:
        NotAnOutput: it has another number of rows, or no such form.
    """
    if hasattr(result, "toarray"):
        if result.shape[1] > COLUMNS_LIMIT:
            raise NotAnOutput(f"{result.shape[1]} columns are too many to send")
        result = result.toarray()
    if isinstance(result, list) and any(isinstance(item, np.ndarray) for item in result):
        result = _side_by_side(result, rows)
    array = np.asarray(result)
    if rows == 1 and array.ndim == 1 and array.shape[0] != rows:
        array = array[None]  # the only row by itself, as SparsePCA gives it
    if array.ndim == 0 or array.shape[0] != rows:
        raise NotAnOutput(f"shape {array.shape} for {rows} rows")
    if array.ndim > 2:
        array = array.reshape(rows, -1)
    if array.ndim == 2 and not 0 < array.shape[1] <= COLUMNS_LIMIT:
        raise NotAnOutput(f"{array.shape[1]} columns")
    return array


def _side_by_side(results: list[Any], rows: int) -> NDArray[Any]:
    """Join what an estimator of several targets gives: [rows, classes] for each of them."""
    if any(np.ndim(item) != 2 or len(item) != rows for item in results):
        raise NotAnOutput("a list of arrays that are not [rows, columns] for each target")
    return np.hstack(results)


def to_array(values: NDArray[Any]) -> Array:
    """Wrap an output for a frame: bool, int64, float64 or text.

    Raises:
        NotAnOutput: the elements are none of these.
    """
    kind = values.dtype.kind
    if kind == "b":
        return Array(DType.BOOL, values)
    if kind in "iu":
        return number_array(values.astype("<i8", copy=False))
    if kind == "f":
        return number_array(values.astype("<f8", copy=False))
    if kind in "US":
        return Array(DType.STRING, values.astype(str).astype(object))
    if kind == "O":
        return _object_array(values)
    raise NotAnOutput(f"elements of NumPy's type {values.dtype}")


def _object_array(values: NDArray[Any]) -> Array:
    kinds = {type(item) for item in values.reshape(-1).tolist()}
    if kinds <= {bool, np.bool_}:
        return to_array(values.astype(bool))
    if kinds <= {int, np.int64, np.int32}:
        return to_array(values.astype("<i8"))
    if kinds <= {int, float, np.float64, np.float32, np.int64}:
        return to_array(values.astype("<f8"))
    return _texts(values)


def _texts(values: NDArray[Any]) -> Array:
    texts = [str(item) for item in values.reshape(-1).tolist()]
    result = np.empty(len(texts), object)
    result[:] = texts
    return Array(DType.STRING, result.reshape(values.shape))


def as_type(array: Array, dtype: DType) -> Array:
    """Give an output in the type that other rows have shown, where that holds it.

    A column of whole numbers among numbers, or of nulls alone among texts, has another type.
    """
    kinds = (array.dtype, dtype)
    if dtype is DType.STRING and array.dtype is not DType.STRING:
        return _texts(array.values)
    if kinds in ((DType.INT64, DType.FLOAT64), (DType.BOOL, DType.FLOAT64)):
        floats = array.values.astype("<f8")
        return Array(dtype, floats) if np.array_equal(floats, array.values) else array
    if kinds == (DType.BOOL, DType.INT64):
        return Array(dtype, array.values.astype("<i8"))
    return array
