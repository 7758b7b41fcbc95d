"""Result encoding: cuts a batch's outputs into each request's RESULT frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pushserve_runtime.frames import HEADER, PREFIX, Array, Kind, encode_arrays
from pushserve_runtime.signature import DType

_CACHED: Final = 4096
_FIXED: Final = HEADER.size - 4 + 2 * PREFIX.size

Bounds = Sequence[tuple[int, int]]
"""First row and row after the last, for each request of a batch."""


class Answers:
    """Writes RESULT frames. What is the same for many answers is made once."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._heads: dict[tuple[DType, int, int, int], bytes] = {}

    def frames(
        self, requests: Sequence[int], bounds: Bounds, arrays: Sequence[Array]
    ) -> list[bytes]:
        """Give one frame for each request id."""
        columns = [self._blocks(array, bounds) for array in arrays]
        count = PREFIX.pack(len(arrays), 0)
        frames = []
        for request, (start, stop), *blocks in zip(requests, bounds, *columns, strict=True):
            size = _FIXED + sum(map(len, blocks))
            head = HEADER.pack(size, request, Kind.RESULT) + PREFIX.pack(0, stop - start)
            frames.append(b"".join((head, count, *blocks)))
        return frames

    def _blocks(self, array: Array, bounds: Bounds) -> list[bytes]:
        """Encode each request's part of one output."""
        if array.dtype.is_number and array.nulls is None:
            return self._number_blocks(array, bounds)
        if array.dtype is DType.STRING and array.values.ndim == 1:
            texts = array.values.tolist()
            return [self._text(texts[a]) if b - a == 1 else _part(array, a, b) for a, b in bounds]
        return [_part(array, a, b) for a, b in bounds]

    def _number_blocks(self, array: Array, bounds: Bounds) -> list[bytes]:
        values = np.ascontiguousarray(array.values)
        if not values.size:
            return [_part(array, a, b) for a, b in bounds]
        view = values.data.cast("B")
        width = len(view) // len(values)
        columns = values.shape[1] if values.ndim == 2 else 0
        blocks = []
        for a, b in bounds:
            head = self._head(array, b - a, columns)
            size = (b - a) * width
            data = view[a * width : b * width]
            blocks.append(b"".join((head, data, bytes(-size % 8))) if size % 8 else head + data)
        return blocks

    def _head(self, array: Array, rows: int, columns: int) -> bytes:
        """Give the head of a part with so many rows; it says nothing of the values."""
        key = (array.dtype, array.values.ndim, rows, columns)
        head = self._heads.get(key)
        if head is None:
            head = encode_arrays(0, rows, [Array(array.dtype, array.values[:rows])])[1]
            if len(self._heads) < _CACHED:
                self._heads[key] = head
        return head

    def _text(self, text: str) -> bytes:
        block = self._texts.get(text)
        if block is None:
            block = _part(Array(DType.STRING, np.array([text], object)), 0, 1)
            if len(self._texts) < _CACHED:
                self._texts[text] = block
        return block


def _part(array: Array, start: int, stop: int) -> bytes:
    nulls = None if array.nulls is None else array.nulls[start:stop]
    part = Array(array.dtype, array.values[start:stop], nulls)
    return b"".join(encode_arrays(0, stop - start, [part])[1:])
