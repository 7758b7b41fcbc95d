"""From an engine's arrays to the bytes of a PredictResponse.

Most of an answer is the same for every call of a version: the response's head, and each
output's name, classes and (for one row) shape. These are serialized once, and an answer is
joined from them and the values; a message of the same content would cost several times as
much. Protobuf allows it: fields may come in any order, and a message is its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2
from numpy.typing import NDArray

from pushserve.v1 import model_service_pb2 as pb
from pushserve_sandbox.frames import Array
from pushserve_sandbox.signature import DType, OutputSpec
from pushserve_server.api.convert import ENGINE_TO_PROTO
from pushserve_server.api.wire import length_delimited_tag, varint
from pushserve_server.domain.records import Version
from pushserve_server.errors import ModelFailed

Encode = Callable[[Sequence[Array]], bytes]

_MOST_LABELS: Final = 4096


_OUTPUTS: Final = length_delimited_tag(pb.PredictResponse, "outputs")
_SHAPE: Final = length_delimited_tag(pb.Output, "shape")
_DOUBLES: Final = length_delimited_tag(pb.Output, "doubles")
_INTS: Final = length_delimited_tag(pb.Output, "ints")
_STRINGS: Final = length_delimited_tag(pb.Output, "strings")
_BOOLS: Final = length_delimited_tag(pb.Output, "bools")
_VALUES: Final = length_delimited_tag(pb.Doubles, "values")


def make_encoder(version: Version, specs: Sequence[OutputSpec]) -> Encode:
    """Make the function that turns one version's arrays, in the order of `specs`, into bytes."""
    head = pb.PredictResponse(
        model=version.model,
        version=version.number,
        commit=version.commit,
        engine=ENGINE_TO_PROTO[version.engine],
    ).SerializeToString()
    if any(spec.dtype is DType.JSON for spec in specs):
        return lambda arrays: head + _rows_message(arrays[0])
    encoders = [_output_encoder(spec) for spec in specs]

    def encode(arrays: Sequence[Array]) -> bytes:
        parts = [head]
        for encode_output, array in zip(encoders, arrays, strict=True):
            encode_output(array, parts)
        return b"".join(parts)

    return encode


def _output_encoder(spec: OutputSpec) -> Callable[[Array, list[bytes]], None]:
    start = pb.Output(name=spec.name, classes=spec.classes).SerializeToString()
    for_one_row = start + _shape((1, spec.columns) if spec.columns else (1,))
    size = 8 * max(spec.columns, 1)
    doubles_for_one_row = _enclosed(for_one_row, _DOUBLES, _VALUES + varint(size), size)
    known: dict[Any, bytes] = {}

    def encode(array: Array, parts: list[bytes]) -> None:
        values = array.values
        if len(values) != 1:
            parts += _any_rows(start + _shape(values.shape), array)
        elif array.dtype is DType.FLOAT64:
            parts += (doubles_for_one_row, values.tobytes())
        elif spec.columns or array.dtype is DType.FLOAT32:  # 0.0 and -0.0 are one key
            parts += _any_rows(for_one_row, array)
        else:
            # A label: few values come again and again.
            label = values.item()
            whole = known.get(label)
            if whole is None:
                whole = b"".join(_any_rows(for_one_row, array))
                if len(known) < _MOST_LABELS:
                    known[label] = whole
            parts.append(whole)

    return encode


def _any_rows(same: bytes, array: Array) -> tuple[bytes, bytes]:
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
    flat = values.ravel().tolist()
    if dtype is DType.STRING:
        return _STRINGS, pb.Strings(values=flat).SerializeToString()
    if dtype is DType.BOOL:
        return _BOOLS, pb.Bools(values=flat).SerializeToString()
    return _INTS, pb.Int64s(values=flat).SerializeToString()


def _rows_message(array: Array) -> bytes:
    return pb.PredictResponse(rows=rows_to_proto(array)).SerializeToString()


def rows_to_proto(array: Array) -> list[struct_pb2.Struct]:
    """Convert what a `predict.py` gave, one object for each row.

    Raises:
        ModelFailed: a row is not a JSON object.
    """
    rows = []
    for item in array.values.tolist():
        row = struct_pb2.Struct()
        try:
            row.update(_plain(item))
        except (ValueError, TypeError, AttributeError):
            raise ModelFailed("predict.py gave something that is not a JSON object") from None
        rows.append(row)
    return rows


def _plain(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise TypeError("not an object")
    return item
