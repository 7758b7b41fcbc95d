"""Request decoding: reads PREDICT bodies of one layout and joins several into one batch."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from pushserve_runtime.frames import ARRAY, PREFIX, Array, FrameError, decode_arrays
from pushserve_runtime.signature import DType, Feature, Layout, Signature
from pushserve_sandbox.prediction.row_arrays import NUMPY

# A MATRIX body's fixed part in one: PREFIX, PREFIX, ARRAY.
_MATRIX: Final = struct.Struct("<IIII" + ARRAY.format.removeprefix("<"))
_DATA: Final = 2 * PREFIX.size + ARRAY.size
_FLOAT64: Final = 1


class Intake(Protocol):
    """How requests of one layout come in."""

    def read(self, body: memoryview) -> tuple[int, int, Any]:
        """Give (outputs mask, rows, payload) of one request.

        Raises:
            FrameError: the body is not of this layout.
        """
        ...

    def join(self, payloads: Sequence[Any]) -> list[Array]:
        """Make one batch of several requests' payloads."""
        ...

    def kind(self, payload: Any) -> Hashable:
        """Say what two requests must have alike to be joined: their columns' own types."""
        ...


def intake_for(signature: Signature) -> Intake:
    """Choose the intake of a signature's layout."""
    if signature.layout is Layout.MATRIX:
        if any(feature.is_open for feature in signature.inputs):
            return NumbersIntake(len(signature.inputs))
        return MatrixIntake(len(signature.inputs))
    if signature.layout is Layout.TABLE:
        return TableIntake(signature.inputs)
    return RecordsIntake()


class MatrixIntake:
    """One float64 matrix of `columns` columns; a payload is its bytes."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def read(self, body: memoryview) -> tuple[int, int, memoryview]:
        """Check the head and leave the numbers where they are."""
        if len(body) < _DATA:
            raise FrameError("a request is cut short")
        mask, rows, count, _, code, ndim, nulls, size, length, columns = _MATRIX.unpack_from(body)
        if (
            (count, code, ndim, nulls, columns) != (1, _FLOAT64, 2, 0, self._columns)
            or length != rows
            or size != 8 * rows * columns
            or len(body) != _DATA + size
        ):
            raise FrameError(f"not a float64 matrix of {self._columns} columns")
        return mask, rows, body[_DATA:]

    def join(self, payloads: Sequence[memoryview]) -> list[Array]:
        """Copy the numbers once, into aligned and writable memory."""
        data = bytearray().join(payloads)
        return [Array(DType.FLOAT64, np.frombuffer(data, "<f8").reshape(-1, self._columns))]

    def kind(self, payload: memoryview) -> Hashable:  # noqa: ARG002 (all are alike)
        """All requests can be joined."""
        return None


class NumbersIntake:
    """One matrix of numbers of any type, of `columns` columns; a payload is that array."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def read(self, body: memoryview) -> tuple[int, int, Array]:
        """Decode the matrix."""
        mask, rows, arrays = decode_arrays(body)
        shapes = [array.values.shape[1:] for array in arrays if array.dtype.is_number]
        if shapes != [(self._columns,)] or arrays[0].nulls is not None:
            raise FrameError(f"not a matrix of {self._columns} columns of numbers")
        return mask, rows, arrays[0]

    def join(self, payloads: Sequence[Array]) -> list[Array]:
        """Copy the numbers once, into aligned and writable memory."""
        return [Array(payloads[0].dtype, np.concatenate([item.values for item in payloads]))]

    def kind(self, payload: Array) -> Hashable:
        """Whole numbers stay such beside another caller's fractions."""
        return payload.dtype


class TableIntake:
    """One array for each feature; a payload is their list."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        # Where a null in one row changes the type of all, as pandas has it, or the type is open.
        self._telling = [
            i
            for i, f in enumerate(features)
            if f.is_open or f.dtype in (DType.INT64, DType.INT32, DType.BOOL)
        ]

    def read(self, body: memoryview) -> tuple[int, int, list[Array]]:
        """Decode the columns and check them against the features."""
        mask, rows, arrays = decode_arrays(body)
        if len(arrays) != len(self._features):
            raise FrameError(f"{len(arrays)} columns, not {len(self._features)}")
        for array, feature in zip(arrays, self._features, strict=True):
            same = array.dtype.is_number == feature.dtype.is_number
            fits = feature.is_open or (same and array.dtype is not DType.JSON)
            if not fits or array.values.ndim != 1:
                raise FrameError(f"a column is not {feature.dtype}")
        return mask, rows, arrays

    def join(self, payloads: Sequence[list[Array]]) -> list[Array]:
        """Join each column."""
        return [
            _joined(feature, [arrays[i] for arrays in payloads])
            for i, feature in enumerate(self._features)
        ]

    def kind(self, payload: Sequence[Array]) -> Hashable:
        """Give the types of open columns, and which columns of whole numbers have nulls."""
        if not self._telling:
            return None
        return tuple((payload[i].dtype, payload[i].nulls is None) for i in self._telling)


class RecordsIntake:
    """One array of JSON values; a payload is that array."""

    def read(self, body: memoryview) -> tuple[int, int, Array]:
        """Decode the values."""
        mask, rows, arrays = decode_arrays(body)
        if len(arrays) != 1 or arrays[0].dtype is not DType.JSON or arrays[0].values.ndim != 1:
            raise FrameError("not one array of JSON values")
        return mask, rows, arrays[0]

    def join(self, payloads: Sequence[Array]) -> list[Array]:
        """Join the values."""
        if len(payloads) == 1:
            return [payloads[0]]
        return [Array(DType.JSON, np.concatenate([array.values for array in payloads]))]

    def kind(self, payload: Array) -> Hashable:  # noqa: ARG002 (all are alike)
        """All requests can be joined."""
        return None


def _joined(feature: Feature, arrays: Sequence[Array]) -> Array:
    values = arrays[0].values if len(arrays) == 1 else np.concatenate([a.values for a in arrays])
    dtype = arrays[0].dtype if feature.is_open else feature.dtype
    if dtype in NUMPY:
        values = values.astype(NUMPY[dtype], copy=False)
    if all(array.nulls is None for array in arrays):
        return Array(dtype, values)
    nulls = [np.zeros(len(a.values), bool) if a.nulls is None else a.nulls for a in arrays]
    return Array(dtype, values, np.concatenate(nulls))
