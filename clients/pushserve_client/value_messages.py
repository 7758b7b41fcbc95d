"""Value messages: plain Python values to columns, rows and tensors, without NumPy."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.plain_values import is_numpy, plain

_INT64_MAX: Final = 2**63
_DEEPEST: Final = 95
"""Messages in each other, of the 100 that protobuf reads; the call's own are the rest."""


class ColumnValues(NamedTuple):
    """A column read from a frame: values, None for null, and the kind of a column of only nulls."""

    values: list[Any]
    kind: str


def tensor_from_lists(values: Any) -> pb.Tensor | None:
    """Build a tensor of rows of numbers, in lists or tuples; None where they are something else.

    Its type is the one that NumPy would choose: bool, int64 or float64. None is NaN.

    Raises:
        BadData: the rows differ in length.
    """
    if not _is_list(values) or not values or not all(map(_is_list, values)):
        return None
    flat, width = list(chain.from_iterable(values)), len(values[0])
    kinds = set(map(type, flat))
    if type(None) in kinds:
        flat, kinds = [math.nan if v is None else v for v in flat], kinds - {type(None)} | {float}
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


def plain_rows(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Give rows with Python's own values; NaN, NA, NaT and what is masked are None."""
    return [[plain("row", value) for value in row] for row in rows]


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and not hasattr(value, "_fields")


def column_from_values(name: str, given: Sequence[Any], kind: str = "doubles") -> pb.Column:
    """Build a column of Python values; None, NaN and NA are nulls.

    Truth values among numbers are numbers, as NumPy and scikit-learn take them. `kind` is what
    a column of only nulls is sent as; the server takes one for any type.

    Raises:
        BadData: the values are of several types, or do not fit into a message.
    """
    values = [plain(name, value) for value in given]
    nulls = [i for i, value in enumerate(values) if value is None]
    kinds = {type(value) for value in values if value is not None}
    if not kinds <= {str} and not kinds <= {bool, int, float}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise BadData(
            f"column {name!r} holds {found}; a column is all text, all truth values or all numbers"
        )
    kind = _kind_of(kinds) or kind
    if kind == "ints":
        return int_column(name, [0 if v is None else int(v) for v in values], nulls)
    blank, message = _FORMS[kind]
    filled = [blank if v is None else v for v in values] if nulls else values
    try:
        return pb.Column(name=name, null_rows=nulls, **{kind: message(values=filled)})
    except UnicodeEncodeError:
        raise _no_text(name) from None
    except OverflowError:
        raise BadData(f"column {name!r} holds a whole number that no float can hold") from None


_FORMS: Final[dict[str, tuple[Any, Any]]] = {
    "doubles": (math.nan, pb.Doubles),
    "strings": ("", pb.Strings),
    "bools": (False, pb.Bools),
}


def _kind_of(kinds: set[type]) -> str:
    """Name the kind of message that holds values of all these types; "" for none at all."""
    if not kinds:
        return ""
    if kinds == {str}:
        return "strings"
    if kinds == {bool}:
        return "bools"
    return "doubles" if float in kinds else "ints"


def int_column(name: str, values: list[int], nulls: Sequence[int] = ()) -> pb.Column:
    """Build a column of integers, of which those at `nulls` do not count.

    Raises:
        BadData: one does not fit into 64 bits.
    """
    outside = next((v for v in values if not _fits(v)), None)
    if outside is not None:
        raise BadData(f"column {name!r} holds {_shown(outside)}, which is not a 64-bit integer")
    return pb.Column(name=name, ints=pb.Int64s(values=values), null_rows=nulls)


def _shown(number: int) -> str:
    """A whole number for a message: Python itself refuses to print 5,000 digits."""
    bits = number.bit_length()
    return str(number) if bits < 200 else f"a whole number of {bits} bits"


def _no_text(name: str) -> BadData:
    return BadData(
        f"{name!r} holds text with half of a surrogate pair, which cannot be sent; make it "
        "text again: value.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
    )


def row_to_struct(row: Mapping[Any, Any], levels: int = _DEEPEST) -> struct_pb2.Struct:
    """Build a row of a dict of JSON values (NumPy's scalars and arrays are taken too).

    Raises:
        BadData: a value is not a JSON value, or `levels` messages in each other do not hold it.
    """
    struct = struct_pb2.Struct()
    for key, value in row.items():
        name = str(key)
        try:
            struct.fields[name].CopyFrom(_to_value(name, value, levels - 3))
        except UnicodeEncodeError:
            raise _no_text(name) from None
    return struct


def _to_value(name: str, value: Any, levels: int) -> struct_pb2.Value:
    if levels < 0:
        raise BadData(
            f"field {name!r} is nested too deeply: about 30 objects or 45 lists in each other are "
            "the most"
        )
    if is_numpy(value, "ndarray"):
        value = value.tolist()
    value = plain(name, value)
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=_json_number(name, value))
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=row_to_struct(value, levels))
    if isinstance(value, (list, tuple)):
        items = [_to_value(name, item, levels - 2) for item in value]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    raise BadData(f"field {name!r} holds {type(value).__name__}, which is not a JSON value")


def _json_number(name: str, value: float) -> float:
    """A number as JSON has it: a 64-bit float, which holds whole numbers up to 2**53 exactly."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if isinstance(value, int) and number != value:
        raise BadData(
            f"field {name!r} holds {_shown(value)}, which a JSON number cannot hold exactly; send "
            "columns, which can: a DataFrame or a dict of lists"
        )
    return number
