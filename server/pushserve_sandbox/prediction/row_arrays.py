"""Row arrays: rows of plain values, as examples and trials have them, as arrays of a layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.closest_name import did_you_mean
from pushserve_runtime.frames import Array
from pushserve_runtime.open_columns import blanks, number_matrix, open_column, whole
from pushserve_runtime.signature import Accepts, DType, Feature, Layout

NUMPY: Final[dict[DType, str]] = {
    DType.FLOAT64: "<f8",
    DType.FLOAT32: "<f4",
    DType.INT64: "<i8",
    DType.INT32: "<i4",
    DType.BOOL: "?",
}
_LARGEST: Final = 2**1023
"""Integers up to here are floats; json.loads gives longer ones too."""


class RowInvalid(ValueError):
    """A row does not fit the features; the text names the feature."""


def row_values(features: Sequence[Feature], row: Any) -> list[Any]:
    """Bring one row, an object by name or an array in order, into the features' order.

    Raises:
        RowInvalid: a feature is missing, unknown or of another type.
    """
    if isinstance(row, Mapping):
        names = {feature.name for feature in features}
        unknown = [str(name) for name in row if name not in names]
        missing = [f.name for f in features if f.name not in row and not may_be_left_out(f)]
        if unknown:
            text = f"the feature {unknown[0]!r} is unknown"
            raise RowInvalid(did_you_mean(text, unknown[0], names))
        if missing:
            raise RowInvalid(f"the feature {missing[0]!r} is missing")
        values = [row.get(feature.name) for feature in features]
    elif isinstance(row, list | tuple):
        if len(row) != len(features):
            raise RowInvalid(f"{len(row)} values, but the model takes {len(features)}")
        values = list(row)
    elif len(features) == 1:
        values = [row]
    else:
        raise RowInvalid("a row is an object by feature name, or an array of all values")
    return [_checked(f, value) for f, value in zip(features, values, strict=True)]


def may_be_left_out(feature: Feature) -> bool:
    """Whether a row need not name it: null is meant, or nothing at all."""
    return feature.nullable or feature.accepts is Accepts.UNUSED


def _checked(feature: Feature, value: Any) -> Any:
    if feature.accepts is Accepts.UNUSED:
        return 0  # whatever it is, no value of it reaches the model
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if feature.is_open:
        return whole(value) if type(value) is float else value
    if feature.dtype is DType.STRING:
        fits = isinstance(value, str)
    elif feature.dtype in (DType.INT64, DType.INT32):
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        fits = is_whole and abs(value) < 2 ** (63 if feature.dtype is DType.INT64 else 31)
    else:
        fits = isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)
    if not fits:
        raise RowInvalid(f"{feature.name!r} is a {feature.dtype}, not {value!r:.40}")
    return value


def arrays_of(
    layout: Layout, features: Sequence[Feature], rows: Sequence[Sequence[Any]]
) -> list[Array]:
    """Make the arrays of a request from rows whose values stand in the features' order."""
    if layout is Layout.MATRIX:
        return [_matrix(features, rows)]
    return [_column(f, [row[i] for row in rows]) for i, f in enumerate(features)]


def _matrix(features: Sequence[Feature], rows: Sequence[Sequence[Any]]) -> Array:
    if any(feature.accepts is Accepts.NUMBERS for feature in features):
        columns = [_column(f, [row[i] for row in rows]) for i, f in enumerate(features)]
        return number_matrix(columns)
    numbers = [[math.nan if value is None else value for value in row] for row in rows]
    matrix = np.asarray(numbers, "<f8").reshape(len(rows), len(features))
    return Array(DType.FLOAT64, matrix)


def records_array(rows: Sequence[Any]) -> Array:
    """Make the one array of a RECORDS request or result."""
    values = np.empty(len(rows), object)
    values[:] = list(rows)
    return Array(DType.JSON, values)


def _column(feature: Feature, values: list[Any]) -> Array:
    if feature.accepts is Accepts.UNUSED:
        return Array(feature.dtype, blanks(feature.dtype, len(values)))
    if feature.is_open:
        return open_column(values, feature.dtype)
    nulls: NDArray[np.bool_] = np.array([value is None for value in values], bool)
    if feature.dtype in NUMPY:
        filled = [0 if value is None else value for value in values]
        array: NDArray[Any] = np.array(filled, NUMPY[feature.dtype])
    else:
        array = np.empty(len(values), object)
        array[:] = ["" if value is None else value for value in values]
    return Array(feature.dtype, array, nulls if nulls.any() else None)
