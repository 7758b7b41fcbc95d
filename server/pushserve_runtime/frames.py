"""Frames between a frontend and a worker, over a unix stream socket.

    frame   := u32 length of the rest | u32 request id | u8 kind | 3 bytes 0 | body
    PREDICT := u32 outputs mask | u32 rows | arrays       (bit i = signature.outputs[i])
    RESULT  := u32 0 | u32 rows | arrays                  (one for each bit set, lowest first)
    ERROR   := UTF-8 JSON {"reason": …, "message": …}
    HELLO   := empty, sent by the frontend; READY := UTF-8 JSON, the worker's answer
    CANCEL  := empty; nobody waits for that request any more
    DROPPED := empty; the worker's answer to a request that was cancelled in time
    arrays  := u32 count | u32 0 | array…
    array   := u8 type | u8 dimensions (1 or 2) | u8 has nulls | u8 0 | u32 size of data
               | u32 rows | u32 columns (0 with 1 dimension) | data | nulls, each padded to 8

Everything is little-endian. Numbers are raw bytes; texts are (n + 1) u32 offsets and
UTF-8; JSON is one text for each row. Nulls are one byte a row. A MATRIX request is
one 2-D float64 array; a TABLE request is one 1-D array for each feature, in the
signature's order; a RECORDS request is one JSON array, its result one array of OBJECTs:
bytes for each row, in the form that `struct_bytes` gives.

Each HELLO and each PREDICT is answered by exactly one frame: that is how a frontend knows
how much a worker has to do, and that what it gets is what it asked for. Whoever sends a frame
is not trusted: every length is checked, and of a result everything but the values.
"""

from __future__ import annotations

import enum
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.signature import DType

HEADER: Final = struct.Struct("<IIBxxx")
PREFIX: Final = struct.Struct("<II")
ARRAY: Final = struct.Struct("<BBBxIII")
MAX_FRAME: Final = 1 << 30


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    READY = 2
    PREDICT = 3
    RESULT = 4
    ERROR = 5
    CANCEL = 6
    DROPPED = 7


class FrameError(ValueError):
    """The bytes are not a frame of this form."""


NUMBERS: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<f8"),
    2: np.dtype("<f4"),
    3: np.dtype("<i8"),
    4: np.dtype("<i4"),
    5: np.dtype("?"),
}
_JSON: Final = 7
OBJECT: Final = 8
_CODES: Final = {dtype: code for code, dtype in NUMBERS.items()}
DTYPE_CODES: Final = {name: code for code, name in enumerate(DType, start=1)}
_DTYPES: Final = {code: name for name, code in DTYPE_CODES.items()}


@dataclass(slots=True, eq=False)  # frozen would cost three times as much to make
class Array:
    """Values of one column, matrix or output.

    `values` is a number array of shape [rows] or [rows, columns], or an object array of
    `str` (STRING) or of JSON values (JSON), shape [rows] or, for STRING, [rows, columns].
    In the result of a worker, a JSON value is `bytes` (see `struct_bytes`).
    `nulls` is a bool array of shape [rows], or None where nothing is null; what stands in
    `values` at a null is of no meaning.
    """

    dtype: DType
    values: NDArray[Any]
    nulls: NDArray[np.bool_] | None = None


def number_array(values: NDArray[Any]) -> Array:
    """Wrap a number array, widening types that frames do not have (float16, int8, …).

    Raises:
        FrameError: the array holds no numbers.
    """
    code = _CODES.get(values.dtype)
    if code is None:
        kind = values.dtype.kind
        if kind == "f":
            values = values.astype("<f8")
        elif kind in "iu":
            values = values.astype("<i8")
        else:
            raise FrameError(f"no frame type for NumPy's {values.dtype}")
        code = _CODES[values.dtype]
    return Array(_DTYPES[code], values)


def encode_frame(request: int, kind: Kind, parts: Sequence[bytes | memoryview] = ()) -> list[Any]:
    """Give the buffers of one frame, for `writelines` or `sendmsg`."""
    size = sum(len(part) for part in parts)
    return [HEADER.pack(8 + size, request, kind), *parts]


def encode_json(request: int, kind: Kind, value: Any) -> list[Any]:
    """Give the buffers of a frame whose body is JSON."""
    return encode_frame(request, kind, [json.dumps(value).encode()])


def encode_arrays(mask: int, rows: int, arrays: Sequence[Array]) -> list[Any]:
    """Give the body of a PREDICT or RESULT frame as buffers; numbers are not copied."""
    parts: list[Any] = [PREFIX.pack(mask, rows) + PREFIX.pack(len(arrays), 0)]
    for array in arrays:
        _encode_array(array, parts)
    return parts


def _encode_array(array: Array, parts: list[Any]) -> None:
    values = array.values
    if array.dtype.is_number:
        data: Any = np.ascontiguousarray(values).data.cast("B") if values.size else b""
    else:
        data = _encode_texts(array)
    columns = values.shape[1] if values.ndim == 2 else 0
    parts.append(
        ARRAY.pack(
            DTYPE_CODES[array.dtype],
            values.ndim,
            array.nulls is not None,
            len(data),
            values.shape[0],
            columns,
        )
    )
    parts.append(data)
    parts.append(bytes(-len(data) % 8))
    if array.nulls is not None:
        parts.append(array.nulls.astype("?").tobytes() + bytes(-len(array.nulls) % 8))


def _encode_texts(array: Array) -> bytes:
    items = array.values.reshape(-1).tolist()
    if array.dtype is DType.JSON:
        texts = [json.dumps(item).encode() for item in items]
    else:
        texts = [item.encode() if isinstance(item, str) else b"" for item in items]
    return join_items(texts)


def join_items(items: Sequence[bytes]) -> bytes:
    """Give (n + 1) offsets and the n items after each other."""
    offsets = np.zeros(len(items) + 1, "<u4")
    np.cumsum([len(item) for item in items], out=offsets[1:])
    return offsets.tobytes() + b"".join(items)


def decode_arrays(body: memoryview) -> tuple[int, int, list[Array]]:
    """Read the body of a PREDICT or RESULT frame: (mask, rows, arrays).

    Number arrays are views into `body`.

    Raises:
        FrameError: the lengths do not add up, or a text is not UTF-8.
    """
    try:
        mask, rows = PREFIX.unpack_from(body, 0)
        count, _ = PREFIX.unpack_from(body, PREFIX.size)
        at = 2 * PREFIX.size
        arrays = []
        for _ in range(count):
            array, at = _decode_array(body, at)
            if array.values.shape[0] != rows:
                raise FrameError("an array has another number of rows than its frame")
            arrays.append(array)
    except (struct.error, ValueError, IndexError) as error:
        raise FrameError(f"bad frame: {error}") from error
    return mask, rows, arrays


def _decode_array(body: memoryview, at: int) -> tuple[Array, int]:
    code, ndim, has_nulls, size, rows, columns = ARRAY.unpack_from(body, at)
    at += ARRAY.size
    if ndim not in (1, 2) or code not in _DTYPES or at + size > len(body):
        raise FrameError("an array's head is wrong")
    shape = (rows,) if ndim == 1 else (rows, columns)
    data = body[at : at + size]
    at += size + (-size % 8)
    if code in NUMBERS:
        values = np.frombuffer(data, NUMBERS[code]).reshape(shape)
    else:
        values = _decode_texts(data, shape, code == _JSON)
    nulls = None
    if has_nulls:
        nulls = np.frombuffer(body[at : at + rows], "?")
        if len(nulls) != rows:
            raise FrameError("the nulls are cut short")
        at += rows + (-rows % 8)
    return Array(_DTYPES[code], values, nulls), at


def _decode_texts(data: memoryview, shape: tuple[int, ...], is_json: bool) -> NDArray[Any]:
    texts = [item.decode() for item in split_items(data, math.prod(shape))]
    values = np.empty(len(texts), object)
    values[:] = [json.loads(text) for text in texts] if is_json else texts
    return values.reshape(shape)


def split_items(data: memoryview, n: int) -> list[bytes]:
    """Cut (n + 1) offsets and what follows them into the n items."""
    start = 4 * (n + 1)
    if len(data) < start:
        raise FrameError("text offsets are wrong")
    offsets = np.frombuffer(data[:start], "<u4")
    if int(offsets[0]) or bool(np.any(offsets[1:] < offsets[:-1])):
        raise FrameError("text offsets are wrong")
    blob = bytes(data[start:])
    if int(offsets[-1]) != len(blob):
        raise FrameError("texts are cut short")
    ends = offsets.tolist()
    return [blob[a:b] for a, b in pairwise(ends)]
