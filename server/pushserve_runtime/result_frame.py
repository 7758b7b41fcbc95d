"""Result frames: what the answer of a worker has to look like, and how large it may be.

The signature and the request say it all: how many rows, which outputs, of what types. So a
frontend believes a worker nothing but the values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pushserve_runtime.frames import (
    ARRAY,
    DTYPE_CODES,
    HEADER,
    NUMBERS,
    OBJECT,
    PREFIX,
    Array,
    FrameError,
    split_items,
)
from pushserve_runtime.signature import DType, Layout, OutputSpec, Signature

OBJECTS_LIMIT: Final = 16 * 1024**2
"""Most bytes of the objects that a `predict.py` gives for one request. To check them takes
twenty times their size of memory, where somebody has made them for that."""
_FIXED: Final = HEADER.size - 4 + 2 * PREFIX.size
_PADDING: Final = 8


def answer_limit(signature: Signature, largest: int) -> int:
    """Give the most bytes of one answer, where `largest` is what the operator allows."""
    return min(largest, OBJECTS_LIMIT) if signature.layout is Layout.RECORDS else largest


def numbers_size(specs: Sequence[OutputSpec], rows: int) -> int:
    """Give the bytes of the values of a result that are known before there are any."""
    return rows * sum(
        max(spec.columns, 1) * NUMBERS[DTYPE_CODES[spec.dtype]].itemsize
        for spec in specs
        if spec.dtype.is_number
    )


def result_limit(specs: Sequence[OutputSpec], rows: int, limit: int) -> int:
    """Give the most that the length of a RESULT frame may say; `limit` is of texts and objects."""
    most = _FIXED + numbers_size(specs, rows) + len(specs) * (ARRAY.size + _PADDING)
    offsets = [rows * max(s.columns, 1) + 1 for s in specs if not s.dtype.is_number]
    return most + 4 * sum(offsets) + (limit if offsets else 0)


def decode_result(body: memoryview, rows: int, specs: Sequence[OutputSpec]) -> list[Array]:
    """Read the body of a RESULT frame that answers for `rows` rows with these outputs.

    Raises:
        FrameError: it holds anything else.
    """
    try:
        _, said = PREFIX.unpack_from(body, 0)
        count, _ = PREFIX.unpack_from(body, PREFIX.size)
        if (said, count) != (rows, len(specs)):
            raise FrameError("another number of rows or outputs than asked for")
        at = 2 * PREFIX.size
        arrays = []
        for spec in specs:
            array, at = _decode_output(body, at, rows, spec)
            arrays.append(array)
    except (struct.error, ValueError) as error:
        raise FrameError(f"bad frame: {error}") from error
    if at != len(body):
        raise FrameError("more or less than was asked for")
    return arrays


def _decode_output(body: memoryview, at: int, rows: int, spec: OutputSpec) -> tuple[Array, int]:
    code, ndim, nulls, size, said_rows, columns = ARRAY.unpack_from(body, at)
    expected = OBJECT if spec.dtype is DType.JSON else DTYPE_CODES[spec.dtype]
    if (code, ndim, nulls, said_rows, columns) != (
        expected,
        2 if spec.columns else 1,
        0,
        rows,
        spec.columns,
    ):
        raise FrameError(f"the output {spec.name!r} is not what it is declared to be")
    at += ARRAY.size
    data = body[at : at + size]
    shape = (rows, columns) if columns else (rows,)
    if spec.dtype.is_number:
        values: Any = np.frombuffer(data, NUMBERS[code]).reshape(shape)
    else:
        items: list[Any] = list(split_items(data, rows * max(columns, 1)))
        if spec.dtype is DType.STRING:
            items = [item.decode() for item in items]
        values = np.empty(len(items), object)
        values[:] = items
        values = values.reshape(shape)
    return Array(spec.dtype, values), at + size + (-size % _PADDING)
