"""Rows that a graph is tried on before it is asked: plain ones, long texts, and extreme values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature, Layout, Signature

WARM_UP_ROWS: Final = 64
"""How many rows a graph is run on at once when it is loaded, and one alone."""
_EXTREMES: Final = {
    "f": (-1.0, 1e300, -1e300, 3e38, 1e-300, 2.0**31, -(2.0**63)),
    "i": (-1, -(2**31), 2**31 - 1, -(2**63), 2**63 - 1),
    "b": (True,),
}


def blank_rows(signature: Signature, rows: int, text: str = "") -> list[Array]:
    """Make rows of zeros and of `text`, or of the first category where others are refused."""
    if signature.layout is Layout.MATRIX:
        row = [feature.categories[0] if feature.categories else 0 for feature in signature.inputs]
        return [Array(DType.FLOAT64, np.tile(np.array(row, np.float64), (rows, 1)))]
    return [_blank_column(feature, rows, text) for feature in signature.inputs]


def extreme_rows(signature: Signature) -> Iterator[list[Array]]:
    """Make rows of the numbers that are the largest, the least, or the like, of each type."""
    for number in range(max(map(len, _EXTREMES.values()))):
        arrays = blank_rows(signature, 2, "x" * 10**number)
        for array in arrays:
            if array.values.dtype.kind != "O":
                array.values[1:] = _extreme(array.values.dtype, number)
        yield arrays


def _extreme(dtype: np.dtype[Any], number: int) -> NDArray[Any]:
    values = _EXTREMES[dtype.kind]
    value = values[number % len(values)]
    if dtype.kind == "i":
        info = np.iinfo(dtype)
        value = int(min(max(value, info.min), info.max))
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


def _blank_column(feature: Feature, rows: int, text: str) -> Array:
    dtype = feature.dtype
    if dtype.is_number:
        value = feature.categories[0] if feature.categories else 0
        return Array(dtype, np.full(rows, value, np.dtype(str(dtype))))
    values = np.empty(rows, object)
    values[:] = feature.categories[0] if feature.categories else text
    return Array(dtype, values)
