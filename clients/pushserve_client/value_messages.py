"""Value messages: plain Python values to columns, rows and tensors, without NumPy."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData

_INT64_MAX: Final = 2**63


def tensor_from_lists(values: Any) -> pb.Tensor | None:
    """Build a tensor of rows of numbers, in lists or tuples; None where they are something else.

    Its type is the one that NumPy would choose: bool, int64 or float64.

    Raises:
        BadData: the rows differ in length.
    """
    if not _is_list(values) or not values or not all(map(_is_list, values)):
        return None
    flat, width = list(chain.from_iterable(values)), len(values[0])
    kinds = set(map(type, flat))
    if not kinds <= {bool, int, float} or (int in kinds and not all(map(_fits, flat))):
        return None
    if any(len(row) != width for row in values):
        raise BadData("the rows differ in length: every row needs all features")
    if kinds == {bool}:
        code, dtype = "?", pb.DATA_TYPE_BOOL
    elif float in kinds or not flat:
        code, dtype = "d", pb.DATA_TYPE_FLOAT64
    else:
        code, dtype = "q", pb.DATA_TYPE_INT64
    raw = struct.pack(f"<{len(flat)}{code}", *flat)
    return pb.Tensor(shape=(len(values), width), raw=raw, dtype=dtype)


def _fits(number: float) -> bool:
    """Whether 64 bits hold it."""
    return isinstance(number, float) or -_INT64_MAX <= number < _INT64_MAX


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def column_from_values(name: str, values: Sequence[Any]) -> pb.Column:
    """Build a column of Python values of one type; None and NaN are nulls.

    A column of nulls only is sent as text.

    Raises:
        BadData: the values are not all text, all truth values or all numbers.
    """
    values = [_plain(value) for value in values]
    nulls = [i for i, value in enumerate(values) if value is None]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        strings = pb.Strings(values=["" if v is None else v for v in values])
        return pb.Column(name=name, strings=strings, null_rows=nulls)
    if kinds == {bool}:
        bools = pb.Bools(values=[v is True for v in values])
        return pb.Column(name=name, bools=bools, null_rows=nulls)
    if kinds == {int}:
        return int_column(name, [0 if v is None else v for v in values], nulls)
    if kinds <= {int, float}:
        doubles = pb.Doubles(values=[math.nan if v is None else v for v in values])
        return pb.Column(name=name, doubles=doubles, null_rows=nulls)
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise BadData(
        f"column {name!r} holds {found}; a column is all text, all truth values or all numbers"
    )


def int_column(name: str, values: list[int], nulls: Sequence[int] = ()) -> pb.Column:
    """Build a column of integers, of which those at `nulls` do not count.

    Raises:
        BadData: one does not fit into 64 bits.
    """
    outside = next((v for v in values if not _fits(v)), None)
    if outside is not None:
        raise BadData(f"column {name!r} holds {outside}, which is not a 64-bit integer")
    return pb.Column(name=name, ints=pb.Int64s(values=values), null_rows=nulls)


def is_numpy(value: object, kind: str) -> bool:
    """Whether it is a NumPy "ndarray" or "generic" (a scalar).

    NumPy is not imported for that: who holds one has imported it.
    """
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, kind))


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, NaN as None."""
    if is_numpy(value, "generic"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def row_to_struct(row: Mapping[str, Any]) -> struct_pb2.Struct:
    """Build a row of a dict of JSON values (NumPy's scalars and arrays are taken too).

    Raises:
        BadData: a value is not a JSON value.
    """
    struct = struct_pb2.Struct()
    for name, value in row.items():
        struct.fields[str(name)].CopyFrom(_to_value(str(name), value))
    return struct


def _to_value(name: str, value: Any) -> struct_pb2.Value:
    if is_numpy(value, "ndarray"):
        value = value.tolist()
    value = _plain(value)
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=row_to_struct(value))
    if isinstance(value, (list, tuple)):
        items = [_to_value(name, item) for item in value]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    raise BadData(f"field {name!r} holds {type(value).__name__}, which is not a JSON value")
