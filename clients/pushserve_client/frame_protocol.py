"""Frame protocol: frames that give their columns by `__dataframe__`, read without their library.

https://data-apis.org/dataframe-protocol/latest/API.html: the elder way of frames to exchange
columns, which some have where they do not have Arrow's.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, Final

from pushserve_client.arrow_values import bits
from pushserve_client.errors import BadData
from pushserve_client.value_messages import ColumnValues

_INT, _UINT, _FLOAT, _BOOL, _STRING, _DATETIME, _CATEGORICAL = 0, 1, 2, 20, 21, 22, 23
_KINDS: Final = {_INT: "ints", _UINT: "ints", _FLOAT: "doubles", _BOOL: "bools", _STRING: "strings"}
_NUMBERS: Final[dict[tuple[int, int], Any]] = {
    (_INT, 8): ctypes.c_int8,
    (_INT, 16): ctypes.c_int16,
    (_INT, 32): ctypes.c_int32,
    (_INT, 64): ctypes.c_int64,
    (_UINT, 8): ctypes.c_uint8,
    (_UINT, 16): ctypes.c_uint16,
    (_UINT, 32): ctypes.c_uint32,
    (_UINT, 64): ctypes.c_uint64,
    (_FLOAT, 32): ctypes.c_float,
    (_FLOAT, 64): ctypes.c_double,
    (_BOOL, 8): ctypes.c_uint8,
}
_READABLE: Final = (1, 3)
"""Memory of the processor's own, and what it shares with a device (DLPack's numbers)."""
_NAN, _SENTINEL, _BIT_MASK, _BYTE_MASK = 1, 2, 3, 4


def columns_of_frame(frame: Any) -> list[tuple[str, ColumnValues | BadData]]:
    """Read the columns of a frame with their names, in order.

    One whose type has no equal is its error.
    """
    exchanged = frame.__dataframe__(allow_copy=True)
    columns: dict[str, ColumnValues | BadData] = {}
    for chunk in exchanged.get_chunks():
        for name in exchanged.column_names():
            read = _read_column(str(name), chunk)
            before = columns.setdefault(str(name), read)
            if isinstance(read, BadData):
                columns[str(name)] = read
            elif isinstance(before, ColumnValues) and before is not read:
                before.values.extend(read.values)
    return list(columns.items())


def _read_column(name: str, chunk: Any) -> ColumnValues | BadData:
    try:
        kind, values = _read(name, chunk.get_column_by_name(name))
    except BadData as error:
        return error
    except Exception as error:  # noqa: BLE001 (a library's own, for a type that it does not exchange)
        return BadData(f"column {name!r} could not be read: {type(error).__name__}: {error}")
    return ColumnValues(values, kind)


def _read(name: str, column: Any) -> tuple[str, list[Any]]:
    memory, _ = column.get_buffers()["data"]
    if int(memory.__dlpack_device__()[0]) not in _READABLE:
        raise BadData(f"column {name!r} is in a device's memory; copy the frame to the host's")
    kind, values = _values(name, column, column.dtype, column.get_buffers())
    how, null = column.describe_null
    if how == _NAN:
        nulls = [isinstance(value, float) and math.isnan(value) for value in values]
    elif how == _SENTINEL and int(column.dtype[0]) != _CATEGORICAL:
        nulls = [value == null for value in values]
    elif how in (_BIT_MASK, _BYTE_MASK):
        nulls = [bit == bool(null) for bit in _mask(column)]
    else:
        nulls = [False] * len(values)
    return kind, [None if null else value for value, null in zip(values, nulls)]


def _values(name: str, column: Any, dtype: Any, buffers: Any) -> tuple[str, list[Any]]:
    kind, width = int(dtype[0]), dtype[1]
    if kind == _CATEGORICAL:
        return _categories(name, column)
    if kind == _STRING:
        return "strings", _texts(column, buffers)
    if kind == _BOOL and width == 1:
        return "bools", bits(buffers["data"][0].ptr, column.offset, column.size())
    if (kind, width) not in _NUMBERS:
        what = "times" if kind == _DATETIME else f"values of the type {dtype}"
        raise BadData(f"column {name!r} holds {what}; send a number or text, such as '2026-01-31'")
    numbers = _numbers(buffers["data"], column.offset, column.size())
    return _KINDS[kind], [bool(v) for v in numbers] if kind == _BOOL else numbers


def _categories(name: str, column: Any) -> tuple[str, list[Any]]:
    known = column.describe_categorical["categories"]
    if known is None:
        raise BadData(f"column {name!r} holds categories that it does not name; cast it to text")
    kind, labels = _read(name, known)
    codes = _numbers(column.get_buffers()["data"], column.offset, column.size())
    # A code that stands for no category is how a null is told.
    return kind, [labels[code] if 0 <= code < len(labels) else None for code in codes]


def _numbers(buffer: tuple[Any, Any], start: int, length: int) -> list[Any]:
    memory, dtype = buffer
    kind = _NUMBERS[int(dtype[0]), dtype[1]]
    if not length:
        return []
    return list((kind * length).from_address(memory.ptr + start * ctypes.sizeof(kind)))


def _texts(column: Any, buffers: Any) -> list[str]:
    ends = _numbers(buffers["offsets"], column.offset, column.size() + 1)
    if not column.size():
        return []
    joined = ctypes.string_at(buffers["data"][0].ptr + ends[0], ends[-1] - ends[0])
    return [joined[a - ends[0] : b - ends[0]].decode() for a, b in zip(ends, ends[1:])]


def _mask(column: Any) -> list[bool]:
    memory, dtype = column.get_buffers()["validity"]
    if dtype[1] == 1:
        return bits(memory.ptr, column.offset, column.size())
    return [bool(byte) for byte in _numbers((memory, dtype), column.offset, column.size())]
