"""Result encoding: each request's RESULT frame, or ERROR where it cannot have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pushserve_runtime.frames import (
    ARRAY,
    HEADER,
    OBJECT,
    PREFIX,
    Array,
    Kind,
    encode_arrays,
    join_items,
)
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_runtime.signature import DType, OutputSpec
from pushserve_sandbox.loading.predict_py import RecordsPredictor
from pushserve_sandbox.prediction.json_values import NotJson, TooLarge, json_object
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.worker.error_frames import error_frame
from pushserve_sandbox.worker.struct_bytes import struct_bytes

_CACHED: Final = 4096
_FIXED: Final = HEADER.size - 4 + 2 * PREFIX.size

Bounds = Sequence[tuple[int, int]]
"""First row and row after the last, for each request of a batch."""


class ArrayAnswers:
    """Outputs as arrays. What is the same for many answers is made once.

    `limit` is the most bytes of one answer.
    """

    def __init__(self, predictor: Predictor, limit: int) -> None:
        self._predictor = predictor
        self._limit = limit
        self._texts: dict[str, bytes] = {}
        self._heads: dict[tuple[DType, int, int, int], bytes] = {}

    def frames(
        self,
        requests: Sequence[int],
        bounds: Bounds,
        inputs: Sequence[Array],
        outputs: Sequence[OutputSpec],
    ) -> list[bytes]:
        """Predict, and give one frame for each request id.

        Raises:
            Exception: whatever the model raises.
            NotAnOutput: it gave something else than its signature has.
        """
        arrays = self._predictor.predict(inputs, [spec.name for spec in outputs])
        for spec, array in zip(outputs, arrays, strict=True):
            _check(array, spec, bounds[-1][1])
        try:
            columns = [self._blocks(array, bounds) for array in arrays]
        except UnicodeEncodeError:
            raise NotAnOutput("a text holds half of a surrogate pair, which is no text") from None
        count = PREFIX.pack(len(arrays), 0)
        frames = []
        for request, (start, stop), *blocks in zip(requests, bounds, *columns, strict=True):
            size = _FIXED + sum(map(len, blocks))
            if size > self._limit:
                frames.append(error_frame(request, TooLarge(self._limit)))
                continue
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


class ObjectAnswers:
    """Objects of a `predict.py`, each request's by itself: what is wrong with one is its own.

    `limit` is the most bytes of one answer.
    """

    def __init__(self, predictor: RecordsPredictor, limit: int) -> None:
        self._predictor = predictor
        self._limit = limit

    def frames(
        self,
        requests: Sequence[int],
        bounds: Bounds,
        inputs: Sequence[Array],
        outputs: Sequence[OutputSpec],
    ) -> list[bytes]:
        """Predict, and give one frame for each request id.

        Raises:
            Exception: whatever the code raises.
            NotAnOutput: it gave another number of rows.
        """
        results = self._predictor.results(inputs)
        return [
            self._frame(request, results[start:stop], len(outputs))
            for request, (start, stop) in zip(requests, bounds, strict=True)
        ]

    def _frame(self, request: int, results: Sequence[Any], outputs: int) -> bytes:
        try:
            block = self._block(results)
        except (NotJson, RecursionError, MemoryError) as error:
            return error_frame(request, error)
        size = _FIXED + outputs * len(block)
        head = HEADER.pack(size, request, Kind.RESULT) + PREFIX.pack(0, len(results))
        return b"".join((head, PREFIX.pack(outputs, 0), *[block] * outputs))

    def _block(self, results: Sequence[Any]) -> bytes:
        items, left = [], self._limit
        for result in results:
            try:
                item = struct_bytes(json_object(result, left))
            except TooLarge:
                raise TooLarge(self._limit) from None  # of all rows together
            left -= len(item)
            if left < 0:
                raise TooLarge(self._limit)
            items.append(item)
        data = join_items(items)
        head = ARRAY.pack(OBJECT, 1, 0, len(data), len(items), 0)
        return b"".join((head, data, bytes(-len(data) % 8)))


def _check(array: Array, spec: OutputSpec, rows: int) -> None:
    values = array.values
    columns = values.shape[1] if values.ndim == 2 else 0
    if (len(values), columns, array.dtype) != (rows, spec.columns, spec.dtype):
        raise NotAnOutput(
            f"{spec.name} is {len(values)} rows of {columns} columns of {array.dtype}, where "
            f"{rows} rows of {spec.columns} columns of {spec.dtype} were to come"
        )
