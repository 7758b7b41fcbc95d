"""Array messages: NumPy arrays, DataFrames and Series to tensors and tables. Imports NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Final

import numpy as np

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.value_messages import (
    column_from_values,
    int_column,
    plain_rows,
    tensor_from_lists,
)

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
    """Build a tensor of an array of shape [rows, features]; what is masked is NaN.

    Raises:
        BadData: it is not 2-D, or holds something else than numbers.
    """
    try:
        array = _as_array(values)
    except ValueError:
        raise BadData("the rows differ in length: every row needs all features") from None
    if array.ndim != 2:
        raise BadData(_wrong_shape(values, array))
    if array.dtype.kind == "O":
        tensor = tensor_from_lists(plain_rows(array.tolist()))
        if tensor is not None:
            return tensor
    if array.dtype.kind not in "bfiu":
        raise BadData(
            f"an array holds numbers; this holds {_held(array)}. For text give a DataFrame, a dict "
            "of columns or a list of dicts: a column of those has a name"
        )
    array = _sent_array(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return pb.Tensor(shape=array.shape, raw=little.tobytes(), dtype=_RAW_TYPES[array.dtype.name])


def _wrong_shape(values: Any, array: npt.NDArray[Any]) -> str:
    if not array.ndim:
        texts = ", or a list of texts" if isinstance(values, str) else ""
        return (
            f"inputs of the type {type(values).__name__} hold no rows: give an array [rows, "
            f"features], a frame, a dict of columns, a list of dicts{texts}"
        )
    way = "for one row, wrap it: [row]" if array.ndim == 1 else "each row is a list of numbers"
    return f"an array is [rows, features]; this has shape {list(array.shape)}: {way}"


def _held(array: npt.NDArray[Any]) -> str:
    """Say what no tensor takes: a type, or a number of too many digits."""
    if array.dtype.kind != "O":
        return f"values of the type {array.dtype}"
    kinds = (type(value) for value in array.flat if not isinstance(value, (int, float)))
    kind = next((kind.__name__ for kind in kinds if kind is not type(None)), "")
    return f"an object of the type {kind}" if kind else "a whole number of more than 64 bits"


def _as_array(values: Any) -> npt.NDArray[Any]:
    """Give an array; a masked one stays one, also where the masks are those of single rows."""
    if hasattr(values, "toarray"):  # SciPy's sparse matrices; zero is what they leave out
        values = values.toarray()
    if isinstance(values, (list, tuple)) and any(np.ma.isMaskedArray(row) for row in values):
        return np.ma.array([np.ma.asarray(row) for row in values])
    return values if np.ma.isMaskedArray(values) else np.asarray(values)


def _sent_array(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give it with a type that can be sent raw."""
    if np.ma.is_masked(array):
        return np.ma.filled(array.astype(np.float64), np.nan)
    array = np.asarray(array)
    if array.dtype.name == "uint64":
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise BadData(f"the array holds {array.max()}, which is not a 64-bit integer")
        return array.astype(np.int64)  # float64 would round what is beyond 2**53
    return array if array.dtype.name in _RAW_TYPES else array.astype(np.float64)


def columns_from_frame(frame: pd.DataFrame) -> Iterator[tuple[str, Callable[[], pb.Column]]]:
    """Give name and maker of each column of a pandas DataFrame; NaN, None and NA are nulls."""
    for i, name in enumerate(map(str, frame.columns)):
        yield name, partial(column_from_series, name, frame.iloc[:, i])


def column_from_series(name: str, series: Any) -> pb.Column:
    """Build a column of a Series, an Index or a pandas array; NaN, None and NA are nulls.

    Raises:
        BadData: its type has no equal.
    """
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "bfiu":
        return column_from_array(name, series.to_numpy())
    nulls = np.asarray(series.isna())
    if series.dtype.kind in "Mm":
        return _no_times(name, series.dtype, nulls)
    values = np.asarray(series.astype(object)).tolist()
    return column_from_values(
        name,
        [None if null else value for value, null in zip(values, nulls.tolist())],
        _kind_of_nulls(series.dtype),
    )


def _kind_of_nulls(dtype: Any) -> str:
    """Name the kind of message for a column of a pandas type that holds nothing."""
    if hasattr(dtype, "categories"):
        return _kind_of_nulls(dtype.categories.dtype)
    if getattr(dtype, "type", None) is str:
        return "strings"
    return {"b": "bools", "i": "ints", "u": "ints"}.get(dtype.kind, "doubles")


def _no_times(name: str, dtype: Any, nulls: npt.NDArray[np.bool_]) -> pb.Column:
    """Give a column of times that holds nothing; any other has no equal."""
    if not nulls.all():
        raise BadData(
            f"column {name!r} holds {dtype}; send a number or text, "
            "for example column.dt.strftime('%Y-%m-%d')"
        )
    return column_from_values(name, [None] * len(nulls))


def column_from_array(name: str, array: npt.NDArray[Any]) -> pb.Column:
    """Build a column of a 1-D array; NaN and what is masked are nulls.

    Raises:
        BadData: it is not 1-D, or its type has no equal.
    """
    if array.ndim != 1:
        raise BadData(f"column {name!r} has shape {list(array.shape)}; a column is 1-D")
    kind = array.dtype.kind
    if kind in "Mm":
        return _no_times(name, array.dtype, np.isnat(array))
    if kind not in "biuf":
        return column_from_values(name, array.tolist(), "strings" if kind in "UT" else "doubles")
    masked, plain = np.ma.getmaskarray(array), np.ma.getdata(array)
    if kind == "f":
        nulls = np.flatnonzero(np.isnan(plain) | masked)
        # An array goes in by upb's fast copy, a list by an item at a time.
        doubles = pb.Doubles(values=plain.astype(np.float64, copy=False))
        return pb.Column(name=name, doubles=doubles, null_rows=nulls.tolist())
    rows = np.flatnonzero(masked).tolist()
    if kind == "b":
        return pb.Column(name=name, bools=pb.Bools(values=plain.tolist()), null_rows=rows)
    return int_column(name, np.where(masked, 0, plain).tolist(), rows)
