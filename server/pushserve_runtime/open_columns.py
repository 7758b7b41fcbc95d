"""Open columns: values whose type nobody declared, in the type that pandas would give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array, number_array
from pushserve_runtime.signature import DType

EXACT: Final = 2**53
"""From here on float64 does not hold every whole number."""


def whole(value: float) -> float:
    """Give a number of JSON as an int where it is whole: 2, not 2.0; -0.0 stays."""
    if value.is_integer() and abs(value) < EXACT and (value or str(value) == "0.0"):
        return int(value)
    return value


def whole_values(value: Any) -> Any:
    """Give a JSON value with `whole` numbers at every depth, as rows bring them."""
    if isinstance(value, float):
        return whole(value)
    if isinstance(value, dict):
        return {key: whole_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_values(item) for item in value]
    return value


def may_have_lost_digits(value: Any) -> bool:
    """Whether a number of JSON, which is float64, may have been another whole number of 64 bits."""
    return isinstance(value, float) and EXACT <= abs(value) < 2.0**63


def typed_values(values: Sequence[Any]) -> tuple[DType, NDArray[Any]]:
    """Give plain values that are not null their type, and an array of it.

    Whole numbers alone are int64, numbers float64, truth values bool, texts text; a mixture is
    JSON, an array of objects. No values are float64, as an empty column is in pandas' reading.
    """
    kinds = set(map(type, values))
    if kinds == {bool}:
        return DType.BOOL, np.array(values, bool)
    if kinds <= {int, float}:
        if float not in kinds and kinds and min(values) >= -(2**63) and max(values) < 2**63:
            return DType.INT64, np.array(values, "<i8")
        return DType.FLOAT64, np.array(values, "<f8")
    objects = np.empty(len(values), object)
    objects[:] = list(values)
    return (DType.STRING if kinds == {str} else DType.JSON), objects


def open_column(values: Sequence[Any], default: DType) -> Array:
    """Make a column of plain values; None is null. Only nulls make one of the default type.

    Whole numbers beside nulls are float64, as pandas reads JSON.
    """
    nulls = np.fromiter((value is None for value in values), bool, len(values))
    present = [value for value in values if value is not None]
    if not present:
        return Array(default, blanks(default, len(values)), nulls)
    dtype, found = typed_values(present)
    if len(present) == len(values):
        return Array(dtype, found)
    if dtype is DType.INT64:
        dtype = DType.FLOAT64
    filled = blanks(dtype, len(values))
    filled[~nulls] = found
    return Array(dtype, filled, nulls)


def blanks(dtype: DType, rows: int) -> NDArray[Any]:
    """Give zeros, empty texts or, for JSON, None."""
    if dtype.is_number:
        return np.zeros(rows, np.dtype(str(dtype)))
    values = np.empty(rows, object)
    values[:] = "" if dtype is DType.STRING else None
    return values


def number_matrix(columns: Sequence[Array]) -> Array:
    """Put columns of numbers side by side, in the type that NumPy gives a mixture.

    A null is NaN, which makes float64 of whole numbers and truth values.
    """
    has_nulls = any(column.nulls is not None for column in columns)
    kinds = [np.float64] if has_nulls else []
    dtype = np.result_type(*(column.values.dtype for column in columns), *kinds)
    matrix = np.empty((len(columns[0].values), len(columns)), dtype)
    for i, column in enumerate(columns):
        matrix[:, i] = column.values
        if column.nulls is not None:
            matrix[column.nulls, i] = np.nan
    return number_array(matrix)
