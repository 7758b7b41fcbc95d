"""Python data to a request's inputs: a tensor, a table or rows.

| given | sent as |
|---|---|
| NumPy array [rows, features], list of lists of numbers | tensor |
| pandas DataFrame, dict of columns (lists, arrays, Series) | table |
| list of dicts, one dict | rows |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

_RAW_TYPES: Final[dict[str, pb.DataType.ValueType]] = {
    "float64": pb.DATA_TYPE_FLOAT64,
    "float32": pb.DATA_TYPE_FLOAT32,
    "int64": pb.DATA_TYPE_INT64,
    "int32": pb.DATA_TYPE_INT32,
    "bool": pb.DATA_TYPE_BOOL,
}
"""Sent as they are; every other kind of number is sent as float64."""

_INT64_MAX: Final = 2**63


def fill_inputs(request: pb.PredictRequest, inputs: Any) -> None:
    """Put `inputs` into `request`, in the form that the module's table names.

    A dict whose values are all columns is a table; any other dict is one row.

    Raises:
        BadData: they cannot be sent; the text says which column and what would be right.
    """
    if _is_data_frame(inputs):
        request.table.CopyFrom(table_from_frame(inputs))
    elif isinstance(inputs, Mapping):
        if inputs and all(_is_column(value) for value in inputs.values()):
            request.table.CopyFrom(table_from_columns(inputs))
        else:
            request.rows.append(row_to_struct(inputs))
    elif isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], Mapping):
        request.rows.extend(row_to_struct(row) for row in inputs)
    else:
        request.tensor.CopyFrom(tensor_from_array(inputs))


def _is_data_frame(value: object) -> bool:
    """Whether it is a pandas DataFrame, without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def _is_column(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) or _is_series(value)


def _is_series(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy")


def tensor_from_array(values: Any) -> pb.Tensor:
    """Build a tensor of an array of shape [rows, features].

    Raises:
        BadData: it is not 2-D, or holds something else than numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise BadData("the rows differ in length: every row needs all features") from None
    if array.ndim != 2:
        raise BadData(
            f"an array is [rows, features]; this has shape {list(array.shape)}. "
            "For one row, wrap it: [row]"
        )
    if array.dtype.kind not in "bfiu":
        raise BadData(
            f"an array holds numbers; this has dtype {array.dtype}. For text and missing "
            "values give a DataFrame, a dict of columns or a list of dicts"
        )
    if array.dtype.name not in _RAW_TYPES:
        array = array.astype(np.float64)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return pb.Tensor(shape=array.shape, raw=little.tobytes(), dtype=_RAW_TYPES[array.dtype.name])


def table_from_frame(frame: pd.DataFrame) -> pb.Table:
    """Build a table of a DataFrame; NaN, None and NA are nulls.

    Raises:
        BadData: two columns share a name, or a column's type has no equal.
    """
    names = [str(name) for name in frame.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise BadData(f"columns that stand twice: {', '.join(doubled)}")
    return pb.Table(
        columns=[_column_from_series(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    )


def table_from_columns(columns: Mapping[str, Any]) -> pb.Table:
    """Build a table of lists, arrays or Series by name; None and NaN are nulls.

    Raises:
        BadData: columns differ in length, or one mixes types.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise BadData(f"columns differ in length: {lengths}")
    return pb.Table(columns=[_column(str(name), values) for name, values in columns.items()])


def _column(name: str, values: Any) -> pb.Column:
    if _is_series(values):
        return _column_from_series(name, values)
    if isinstance(values, np.ndarray):
        return _column_from_array(name, values)
    return column_from_values(name, values)


def _column_from_series(name: str, series: pd.Series[Any]) -> pb.Column:
    if series.dtype.kind in "Mm":
        raise BadData(
            f"column {name!r} holds {series.dtype}; send a number or text, "
            "for example column.dt.strftime('%Y-%m-%d')"
        )
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "bfiu":
        return _column_from_array(name, series.to_numpy())
    nulls = series.isna().to_numpy()
    values = series.to_numpy(dtype=object).tolist()
    return column_from_values(
        name, [None if null else value for value, null in zip(values, nulls, strict=True)]
    )


def _column_from_array(name: str, array: npt.NDArray[Any]) -> pb.Column:
    if array.ndim != 1:
        raise BadData(f"column {name!r} has shape {list(array.shape)}; a column is 1-D")
    match array.dtype.kind:
        case "b":
            return pb.Column(name=name, bools=pb.Bools(values=array.tolist()))
        case "i" | "u":
            return _int_column(name, array.tolist())
        case "f":
            nulls = np.flatnonzero(np.isnan(array))
            # An array goes in by upb's fast copy, a list by an item at a time.
            doubles = pb.Doubles(values=array.astype(np.float64, copy=False))
            return pb.Column(name=name, doubles=doubles, null_rows=nulls.tolist())
        case _:
            return column_from_values(name, array.tolist())


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
        return _int_column(name, [0 if v is None else v for v in values], nulls)
    if kinds <= {int, float}:
        doubles = pb.Doubles(values=[math.nan if v is None else v for v in values])
        return pb.Column(name=name, doubles=doubles, null_rows=nulls)
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise BadData(
        f"column {name!r} holds {found}; a column is all text, all truth values or all numbers"
    )


def _int_column(name: str, values: list[int], nulls: Sequence[int] = ()) -> pb.Column:
    outside = next((v for v in values if not -_INT64_MAX <= v < _INT64_MAX), None)
    if outside is not None:
        raise BadData(f"column {name!r} holds {outside}, which is no 64-bit integer")
    return pb.Column(name=name, ints=pb.Int64s(values=values), null_rows=nulls)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, NaN as None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def row_to_struct(row: Mapping[str, Any]) -> struct_pb2.Struct:
    """Build a row of a dict of JSON values (NumPy's scalars and arrays are taken too).

    Raises:
        BadData: a value is no JSON value.
    """
    struct = struct_pb2.Struct()
    for name, value in row.items():
        struct.fields[str(name)].CopyFrom(_to_value(str(name), value))
    return struct


def _to_value(name: str, value: Any) -> struct_pb2.Value:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    value = _plain(value)
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Mapping():
            return struct_pb2.Value(struct_value=row_to_struct(value))
        case list() | tuple():
            items = [_to_value(name, item) for item in value]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case _:
            raise BadData(f"field {name!r} holds {type(value).__name__}, which is no JSON value")
