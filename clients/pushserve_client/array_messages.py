"""Array messages: NumPy arrays, DataFrames and Series to tensors and tables. Imports NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.value_messages import column_from_values, int_column

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_RAW_TYPES: Final[dict[str, pb.DataType.ValueType]] = {
    "float64": pb.DATA_TYPE_FLOAT64,
    "float32": pb.DATA_TYPE_FLOAT32,
    "int64": pb.DATA_TYPE_INT64,
    "int32": pb.DATA_TYPE_INT32,
    "bool": pb.DATA_TYPE_BOOL,
}
"""Sent as they are; every other kind of number is sent as float64."""


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
        raise BadData(f"these columns are given twice: {', '.join(doubled)}")
    return pb.Table(
        columns=[column_from_series(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    )


def column_from_series(name: str, series: pd.Series[Any]) -> pb.Column:
    """Build a column of a Series; NaN, None and NA are nulls.

    Raises:
        BadData: its type has no equal.
    """
    if series.dtype.kind in "Mm":
        raise BadData(
            f"column {name!r} holds {series.dtype}; send a number or text, "
            "for example column.dt.strftime('%Y-%m-%d')"
        )
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "bfiu":
        return column_from_array(name, series.to_numpy())
    nulls = series.isna().to_numpy()
    values = series.to_numpy(dtype=object).tolist()
    return column_from_values(name, [None if null else value for value, null in zip(values, nulls)])


def column_from_array(name: str, array: npt.NDArray[Any]) -> pb.Column:
    """Build a column of a 1-D array; NaN is null.

    Raises:
        BadData: it is not 1-D, or its type has no equal.
    """
    if array.ndim != 1:
        raise BadData(f"column {name!r} has shape {list(array.shape)}; a column is 1-D")
    if array.dtype.kind == "b":
        return pb.Column(name=name, bools=pb.Bools(values=array.tolist()))
    if array.dtype.kind in "iu":
        return int_column(name, array.tolist())
    if array.dtype.kind == "f":
        nulls = np.flatnonzero(np.isnan(array))
        # An array goes in by upb's fast copy, a list by an item at a time.
        doubles = pb.Doubles(values=array.astype(np.float64, copy=False))
        return pb.Column(name=name, doubles=doubles, null_rows=nulls.tolist())
    return column_from_values(name, array.tolist())
