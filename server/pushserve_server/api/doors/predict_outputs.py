"""Predict outputs: from an engine's arrays to the bytes of a PredictResponse.

Most of an answer is the same for every call of a version: the response's head, and each
output's name, classes and (for one row) shape. These are serialized once, and an answer is
joined from them and the values; a message of the same content would cost several times as
much. Protobuf allows it: fields may come in any order, and a message is its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, OutputSpec
from pushserve_runtime.varint import varint
from pushserve_server.api.doors.wire_format import length_delimited_tag, map_keys
from pushserve_server.api.record_messages import ENGINE_TO_PROTO
from pushserve_server.domain.records import Version
from pushserve_server.errors import BadAnswer
from pushserve_server.serve.codec.output_selection import Encoder

_MOST_LABELS: Final = 4096
_PIECE: Final = 4096
_FEW: Final = 64
"""Below, looking at the values takes longer than a list of them."""
_ONE_BYTE: Final = 128
"""From there on, a varint has more."""


_ROWS: Final = length_delimited_tag(pb.PredictResponse, "rows")
_ROW_KEYS: Final = length_delimited_tag(pb.PredictResponse, "row_keys")
_OUTPUTS: Final = length_delimited_tag(pb.PredictResponse, "outputs")
_SHAPE: Final = length_delimited_tag(pb.Output, "shape")
_DOUBLES: Final = length_delimited_tag(pb.Output, "doubles")
_INTS: Final = length_delimited_tag(pb.Output, "ints")
_STRINGS: Final = length_delimited_tag(pb.Output, "strings")
_BOOLS: Final = length_delimited_tag(pb.Output, "bools")
_VALUES: Final = length_delimited_tag(pb.Doubles, "values")


def make_encoder(version: Version, specs: Sequence[OutputSpec]) -> Encoder:
    """Make what turns one version's arrays, in the order of `specs`, into bytes."""
    head = pb.PredictResponse(
        model=version.model,
        version=version.number,
        commit=version.commit,
        engine=ENGINE_TO_PROTO[version.engine],
    ).SerializeToString()
    if any(spec.dtype is DType.JSON for spec in specs):
        return _RowsEncoder(head)
    return _OutputsEncoder(head, [_OutputEncoder(spec) for spec in specs])


class _OutputsEncoder:
    """Answers that hold outputs by name."""

    def __init__(self, head: bytes, outputs: Sequence[_OutputEncoder]) -> None:
        self._head = head
        self._outputs = outputs

    def one(self, arrays: Sequence[Array]) -> bytes:
        """Give the answer that holds all rows."""
        if len(arrays[0].values) == 1:
            return self.each(arrays)[0]
        parts = [self._head]
        for output, array in zip(self._outputs, arrays, strict=True):
            parts += output.all_rows(array)
        return b"".join(parts)

    def each(self, arrays: Sequence[Array]) -> list[bytes]:
        """Give one answer for each row."""
        outputs = [o.each_row(array) for o, array in zip(self._outputs, arrays, strict=True)]
        head = self._head
        return [b"".join((head, *parts)) for parts in zip(*outputs, strict=True)]


class _OutputEncoder:
    """One output of a version: everything of it but the values is made once."""

    def __init__(self, spec: OutputSpec) -> None:
        self._start = pb.Output(name=spec.name, classes=spec.classes).SerializeToString()
        self._one_row = self._start + _shape((1, spec.columns) if spec.columns else (1,))
        self._size = 8 * max(spec.columns, 1)
        self._before_doubles = _enclosed(
            self._one_row, _DOUBLES, _VALUES + varint(self._size), self._size
        )
        self._is_label = not spec.columns
        self._known: dict[Any, bytes] = {}

    def all_rows(self, array: Array) -> tuple[bytes, bytes]:
        """Give the pieces of the output that holds all rows."""
        return _whole(self._start + _shape(array.values.shape), array)

    def each_row(self, array: Array) -> list[bytes]:
        """Give the output anew for each row."""
        values = array.values
        if array.dtype is DType.FLOAT64:
            data, size, before = values.tobytes(), self._size, self._before_doubles
            return [before + data[at : at + size] for at in range(0, len(data), size)]
        if self._is_label and array.dtype is not DType.FLOAT32:  # 0.0 and -0.0 are one key
            known = self._known
            return [known.get(label) or self._label(label, array) for label in values.tolist()]
        rows = (Array(array.dtype, values[i : i + 1]) for i in range(len(values)))
        return [b"".join(_whole(self._one_row, row)) for row in rows]

    def _label(self, label: Any, array: Array) -> bytes:
        """Make the output for one label: few come again and again."""
        value = np.empty(1, array.values.dtype)
        value[0] = label
        whole = b"".join(_whole(self._one_row, Array(array.dtype, value)))
        if len(self._known) < _MOST_LABELS:
            self._known[label] = whole
        return whole


class _RowsEncoder:
    """Answers that hold objects, one for each row."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def one(self, arrays: Sequence[Array]) -> bytes:
        """Give the answer that holds all rows."""
        return self._head + _rows_message(arrays[0])

    def each(self, arrays: Sequence[Array]) -> list[bytes]:
        """Give one answer for each row."""
        array = arrays[0]
        rows = (Array(array.dtype, array.values[i : i + 1]) for i in range(len(array.values)))
        return [self.one([row]) for row in rows]


def _whole(same: bytes, array: Array) -> tuple[bytes, bytes]:
    tag, values = _values(array.dtype, array.values)
    return _enclosed(same, tag, b"", len(values)), values


def _enclosed(same: bytes, tag: bytes, start: bytes, size: int) -> bytes:
    """Give all of an Output up to the last `size` bytes of its values, with every length."""
    inner = tag + varint(len(start) + size) + start
    return _OUTPUTS + varint(len(same) + len(inner) + size) + same + inner


def _shape(shape: Sequence[int]) -> bytes:
    packed = b"".join(map(varint, shape))
    return _SHAPE + varint(len(packed)) + packed


def _values(dtype: DType, values: NDArray[Any]) -> tuple[bytes, bytes]:
    """Give the tag of the field for the values, and the serialized list."""
    if dtype is DType.FLOAT64 or dtype is DType.FLOAT32:
        data = values.astype("<f8", copy=False).tobytes()
        return _DOUBLES, _VALUES + varint(len(data)) + data
    flat = values.ravel()
    if dtype is DType.STRING:
        return _STRINGS, _in_pieces(pb.Strings, flat)
    few = len(flat) < _FEW
    if dtype is DType.BOOL or (not few and flat.min() >= 0 and flat.max() < _ONE_BYTE):
        data = flat.astype(np.uint8).tobytes()
        return _BOOLS if dtype is DType.BOOL else _INTS, _VALUES + varint(len(data)) + data
    return _INTS, _in_pieces(pb.Int64s, flat)


def _in_pieces(message: type[pb.Strings | pb.Int64s], flat: NDArray[Any]) -> bytes:
    """Serialize a list piece by piece, which gives the same message: other threads get their turn.

    Whole, 100,000 values would keep them from Python's lock for 10 ms.
    """
    pieces = (flat[at : at + _PIECE].tolist() for at in range(0, len(flat), _PIECE))
    return b"".join(message(values=piece).SerializeToString() for piece in pieces)


def _rows_message(array: Array) -> bytes:
    """Join the objects that a worker has serialized, checked by reading them.

    Raises:
        BadAnswer: one is no Struct.
    """
    parts: list[bytes] = []
    for item in array.values.tolist():
        try:
            struct_pb2.Struct.FromString(item)
        except DecodeError:
            raise BadAnswer("the worker gave a row that is no JSON object") from None
        parts += (_ROWS, varint(len(item)), item)
    for key in map_keys(array.values[0]):
        parts += (_ROW_KEYS, varint(len(key)), key)
    return b"".join(parts)
