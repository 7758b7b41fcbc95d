"""Predict inputs: from the three forms of a PredictRequest to a `DecodedRequest`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from google.protobuf import struct_pb2
from numpy.typing import NDArray

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.errors import BadInput, Violation
from pushserve_server.serve.codec.columns import GivenColumn
from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder

_RAW: Final[dict[pb.DataType.ValueType, np.dtype[Any]]] = {
    pb.DATA_TYPE_UNSPECIFIED: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
}

_FEW: Final = 1024
_DOUBLES: Final = (pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_FLOAT64)


def request_from_proto(message: pb.PredictRequest, decoder: Decoder) -> DecodedRequest:
    """Decode whichever form is given.

    Raises:
        BadInput: not exactly one form is given, or it does not fit the signature.
    """
    form = message.WhichOneof("inputs")
    if message.rows:
        if form is not None:
            raise _one_form(f"both rows and {form} are given")
        return decoder.from_records([struct_to_dict(row) for row in message.rows])
    if form == "tensor":
        return _from_tensor(message.tensor, decoder)
    if form == "table":
        return decoder.from_columns([column_from_proto(c) for c in message.table.columns])
    raise _one_form("there are no inputs")


def _from_tensor(tensor: pb.Tensor, decoder: Decoder) -> DecodedRequest:
    raw, values = tensor.raw, tensor.values
    if not raw and 0 < len(values) <= _FEW:
        # A second copy of a few numbers costs less than checking each call by itself.
        raw = np.asarray(values, np.float64).tobytes()
    elif values or tensor.dtype not in _DOUBLES:
        raw = b""
    request = decoder.from_raw(raw, tensor.shape) if raw else None
    if request is not None:
        return request
    return decoder.from_tensor(tensor_from_proto(tensor), tensor.shape)


def tensor_from_proto(tensor: pb.Tensor) -> NDArray[Any]:
    """Give the elements as a flat array; `raw` is not copied.

    Raises:
        BadInput: both or the wrong number of bytes are given, or the type is not a number's.
    """
    raw = tensor.raw
    if not raw:
        return np.asarray(tensor.values, np.float64)
    if tensor.values:
        raise BadInput(
            "the tensor has both values and raw; give one of them",
            [Violation("tensor", "expected exactly one of values and raw")],
            reason="WRONG_FORM",
        )
    dtype = _RAW.get(tensor.dtype)
    if dtype is None:
        # A number that this version of the contract has no name for is possible, too.
        names = pb.DataType.DESCRIPTOR.values_by_number
        name = names[tensor.dtype].name if tensor.dtype in names else tensor.dtype
        what = f"{name} cannot be raw; send a table or rows"
        raise BadInput(what, [Violation("tensor.dtype", what)], reason="WRONG_DTYPE")
    if len(raw) % dtype.itemsize:
        what = f"{len(raw)} bytes are not a whole number of {dtype.name} elements"
        raise BadInput(what, [Violation("tensor.raw", what)], reason="WRONG_SHAPE")
    return np.frombuffer(raw, dtype)


def column_from_proto(column: pb.Column) -> GivenColumn:
    """Give a column as an array with its nulls.

    Raises:
        BadInput: no values are given, or a null's row does not exist.
    """
    form = column.WhichOneof("values")
    if form is None:
        what = "expected one of doubles, ints, strings and bools"
        raise BadInput(
            f"column {column.name!r} has no values; {what}",
            [Violation(column.name, what)],
            reason="WRONG_FORM",
        )
    given = getattr(column, form).values
    if form == "strings":
        values = np.empty(len(given), object)
        values[:] = given
    else:
        values = np.asarray(given, _COLUMN_DTYPES[form])
    return GivenColumn(column.name, values, _nulls(column, len(values)))


_COLUMN_DTYPES: Final = {"doubles": np.float64, "ints": np.int64, "bools": np.bool_}


def _nulls(column: pb.Column, rows: int) -> NDArray[np.bool_] | None:
    if not column.null_rows:
        return None
    indices = np.asarray(column.null_rows, np.int64)
    if int(indices.max()) >= rows:
        what = f"null_rows names row {int(indices.max())}; the column has {rows} rows"
        raise BadInput(
            f"column {column.name!r}: {what}",
            [Violation(column.name, what)],
            reason="ROW_COUNT_MISMATCH",
        )
    nulls = np.zeros(rows, bool)
    nulls[indices] = True
    return nulls


def struct_to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Give a Struct as Python values; several times faster than `MessageToDict`."""
    return {name: value_to_json(value) for name, value in struct.fields.items()}


def value_to_json(value: struct_pb2.Value) -> Any:
    """Give a Value as a Python value; a Value with nothing set is None."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return value.number_value
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [value_to_json(item) for item in value.list_value.values]
    return None


def _one_form(what: str) -> BadInput:
    right = "give exactly one of tensor, table and rows"
    return BadInput(f"{what}; {right}", [Violation("inputs", right)], reason="WRONG_FORM")
