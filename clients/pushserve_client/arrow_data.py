"""Arrow data: Arrow's C stream, read without any library for it.

Polars, PyArrow, DuckDB, Ibis, nanoarrow and others give their frames and columns as a PyCapsule
that holds C structures (`__arrow_c_stream__`, or `__arrow_c_array__` for one piece). Format:
https://arrow.apache.org/docs/format/CDataInterface.html. What reads values is in `arrow_values`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pushserve_client.arrow_values import NotSent, read_values
from pushserve_client.errors import BadData
from pushserve_client.value_messages import ColumnValues

_P: Final = ctypes.c_void_p
_I64: Final = ctypes.c_int64


class Schema(ctypes.Structure):
    """`struct ArrowSchema`: name and format of a column, and those inside it."""


class Array(ctypes.Structure):
    """`struct ArrowArray`: buffers of a column, and the columns inside it."""


class _Stream(ctypes.Structure):
    """`struct ArrowArrayStream`."""


_release_schema: Final = ctypes.CFUNCTYPE(None, ctypes.POINTER(Schema))
_release_array: Final = ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))

Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", _P),
    ("flags", _I64),
    ("n_children", _I64),
    ("children", ctypes.POINTER(ctypes.POINTER(Schema))),
    ("dictionary", ctypes.POINTER(Schema)),
    ("release", _release_schema),
    ("private_data", _P),
]
Array._fields_ = [
    ("length", _I64),
    ("null_count", _I64),
    ("offset", _I64),
    ("n_buffers", _I64),
    ("n_children", _I64),
    ("buffers", ctypes.POINTER(_P)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", ctypes.POINTER(Array)),
    ("release", _release_array),
    ("private_data", _P),
]
_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(Array))),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))),
    ("private_data", _P),
]

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = _P
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def has_arrow(value: object) -> bool:
    """Whether it gives itself as Arrow data."""
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def columns_of_frame(frame: Any) -> list[tuple[str, ColumnValues | BadData]]:
    """Read the columns of a frame with their names, in order; a column alone has "" or its own.

    One whose type has no equal is its error.

    Raises:
        BadData: the frame cannot be read.
    """
    found: list[tuple[str, ColumnValues | BadData]] = []
    for schema, arrays in _read(frame):
        if schema.format != b"+s":
            name = getattr(frame, "name", None) or ""
            return [(name, _read_column(name, schema, [(array, None) for array in arrays]))]
        for i in range(schema.n_children):
            name = (schema.children[i].contents.name or b"").decode()
            pieces = [(array.children[i].contents, array) for array in arrays]
            found.append((name, _read_column(name, schema.children[i].contents, pieces)))
    return found


def _read_column(
    name: str, schema: Schema, pieces: Sequence[tuple[Array, Array | None]]
) -> ColumnValues | BadData:
    try:
        return _values(name, schema, pieces)
    except BadData as error:
        return error


def values_of_column(name: str, column: Any) -> ColumnValues:
    """Read one column, which is called `name` in errors.

    Raises:
        BadData: its type has no equal.
    """
    (values,) = [
        _values(name, schema, [(array, None) for array in arrays])
        for schema, arrays in _read(column)
    ]
    return values


def _values(
    name: str, schema: Schema, pieces: Sequence[tuple[Array, Array | None]]
) -> ColumnValues:
    values: list[Any] = []
    try:
        kind, _ = read_values(schema, None, 0, 0)
        for array, within in pieces:
            # The rows of a sliced batch are those of its columns from its offset on.
            start, length = (0, array.length) if within is None else (within.offset, within.length)
            values += read_values(schema, array, array.offset + start, length)[1]
    except NotSent as error:
        raise BadData(f"column {name!r} {error}") from None
    return ColumnValues(values, kind)


def _read(value: Any) -> Iterator[tuple[Schema, list[Array]]]:
    """Give schema and pieces of what `value` exports, which are released afterwards."""
    if not hasattr(value, "__arrow_c_stream__"):
        schemas, arrays = value.__arrow_c_array__()
        schema = Schema.from_address(_pointer(schemas, b"arrow_schema"))
        yield schema, [Array.from_address(_pointer(arrays, b"arrow_array"))]
        return  # the capsules, alive until here, release what they hold
    capsule = value.__arrow_c_stream__()
    stream = _Stream.from_address(_pointer(capsule, b"arrow_array_stream"))
    schema, pieces = Schema(), []
    try:
        _check(stream, stream.get_schema(ctypes.byref(stream), ctypes.byref(schema)))
        while True:
            piece = Array()
            _check(stream, stream.get_next(ctypes.byref(stream), ctypes.byref(piece)))
            if not piece.release:
                break
            pieces.append(piece)
        yield schema, pieces
    finally:
        for made in (*pieces, schema):
            if made.release:
                made.release(ctypes.byref(made))


def _check(stream: _Stream, code: int) -> None:
    if code:
        text = stream.get_last_error(ctypes.byref(stream)) or b"no reason given"
        raise BadData(f"the frame cannot be read: {text.decode(errors='replace')}")
