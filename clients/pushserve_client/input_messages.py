"""Input messages: from Python data to a request's inputs, a tensor, a table or rows.

| given | sent as |
|---|---|
| array [rows, features], list of lists of numbers | tensor |
| frame of pandas, Polars, PyArrow or any with Arrow's C stream or `__dataframe__` | table |
| dict of columns (lists, arrays, Series, Arrow's arrays), structured array | table |
| list of dicts, of named tuples, of a database's rows; one of those | rows |

A column without a name (texts, a Series) is called ""; `column_names` asks the signature then.
"""

from __future__ import annotations

import array
import inspect
from collections import deque
from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import partial
from types import ModuleType
from typing import Any, Final, cast

from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import arrow_data, frame_protocol
from pushserve_client.errors import BadData, ClientError
from pushserve_client.plain_values import as_row, has_numbered_rows, is_numpy, is_pandas
from pushserve_client.unsent_columns import UnsentColumns, failing
from pushserve_client.value_messages import (
    ColumnValues,
    column_from_values,
    row_to_struct,
    tensor_from_lists,
)

_LISTS: Final = (list, tuple, range, array.array, deque, KeysView, ValuesView)
_HAS_NAMES: Final = ("columns", "column_names", "collect_schema")
"""What a frame of any library has one of."""


def fill_inputs(request: pb.PredictRequest, inputs: Any) -> None:
    """Put all of `inputs` into `request`.

    Raises:
        BadData: as `fill_sendable`, and of a column that no message holds.
    """
    fill_sendable(request, inputs).refuse()


def fill_sendable(request: pb.PredictRequest, inputs: Any) -> UnsentColumns:
    """Put `inputs` into `request`, in the form that the module's table names.

    A dict whose values are all columns is a table; any other dict is one row. Gives the columns
    that no message holds: the model's signature says whether they may stay away.

    Raises:
        BadData: they cannot be sent; the text says which column and what would be right.
    """
    unsent = UnsentColumns()
    try:
        _fill(request, _as_list(inputs), unsent)
    except ClientError:
        raise
    except Exception as error:  # a caller's object may raise anything when it is read
        raise BadData(
            f"a {type(inputs).__name__} could not be read: {type(error).__name__}: {error}"
        ) from error
    return unsent


def _as_list(inputs: Any) -> Any:
    """Give what is read once, and an array of dicts, as a list."""
    if is_numpy(inputs, "ndarray") and inputs.dtype.kind == "O" and inputs.ndim == 1:
        return inputs.tolist()
    is_read_once = isinstance(inputs, (Iterator, deque, ValuesView))
    return list(inputs) if is_read_once and not arrow_data.has_arrow(inputs) else inputs


def _fill(request: pb.PredictRequest, inputs: Any, unsent: UnsentColumns) -> None:
    if is_numpy(inputs, "ndarray") and inputs.ndim == 2:
        request.tensor.CopyFrom(_tensor(inputs))
    elif is_pandas(inputs, "DataFrame"):
        _check_names([str(name) for name in inputs.columns])
        columns = unsent.sent(_arrays().columns_from_frame(inputs))
        request.table.CopyFrom(pb.Table(columns=columns))
    elif _is_unnamed_column(inputs):
        name = getattr(inputs, "name", None)
        request.table.CopyFrom(_made_table({"" if name is None else name: inputs}, unsent))
    elif is_numpy(inputs, "ndarray") and inputs.dtype.names and inputs.ndim == 1:
        named = {name: inputs[name] for name in inputs.dtype.names}
        request.table.CopyFrom(_made_table(named, unsent))
    elif arrow_data.has_arrow(inputs) and not is_pandas(inputs, "Series"):
        request.table.CopyFrom(_table(arrow_data.columns_of_frame(inputs), unsent))
    elif hasattr(inputs, "__dataframe__"):
        request.table.CopyFrom(_table(frame_protocol.columns_of_frame(inputs), unsent))
    else:
        _fill_plain(request, inputs, unsent)


def _fill_plain(request: pb.PredictRequest, inputs: Any, unsent: UnsentColumns) -> None:
    row = as_row(inputs)
    if row is not None and row and all(_is_column(value) for value in row.values()):
        request.table.CopyFrom(_made_table(row, unsent))
    elif row is not None:
        request.rows.append(_row(row, unsent))
    elif isinstance(inputs, Sequence) and any(as_row(one) is not None for one in inputs):
        request.rows.extend(_rows(inputs, unsent))
    else:
        request.tensor.CopyFrom(_tensor(inputs))


def _is_unnamed_column(inputs: Any) -> bool:
    """Whether it is texts, or a Series: a column whose name the signature may have to give."""
    if is_pandas(inputs, "Series"):
        return has_numbered_rows(inputs)
    if is_numpy(inputs, "ndarray"):
        return bool(inputs.ndim == 1 and inputs.dtype.kind in "UT")
    is_list = isinstance(inputs, (list, tuple)) and not hasattr(inputs, "_fields")
    return is_list and bool(inputs) and all(isinstance(one, str) for one in inputs)


def _rows(inputs: Sequence[Any], unsent: UnsentColumns) -> Iterator[Any]:
    for number, given in enumerate(inputs):
        row = as_row(given)
        if row is None:
            raise BadData(
                f"row {number} is a {type(given).__name__} without names, others are dicts: give "
                "a list of dicts"
            )
        yield _row(row, unsent)


def _row(row: Mapping[Any, Any], unsent: UnsentColumns) -> Any:
    _check_names([str(name) for name in row])
    try:
        return row_to_struct(row)
    except BadData:
        struct = struct_pb2.Struct()
    for one in unsent.sent((str(n), partial(row_to_struct, {n: v})) for n, v in row.items()):
        struct.MergeFrom(one)
    return struct


def _tensor(inputs: Any) -> pb.Tensor:
    if not _is_plain(inputs) and any(
        inspect.getattr_static(inputs, name, None) for name in _HAS_NAMES
    ):
        raise BadData(
            f"a {type(inputs).__name__} has named columns, which cannot be read: make it a frame "
            "of pandas or Polars first, such as by its collect(), compute() or toPandas()"
        )
    if _is_empty(inputs):
        raise BadData("there are no rows: give one at least")
    tensor = tensor_from_lists(inputs)
    if tensor is None:
        tensor = _arrays().tensor_from_array(inputs)
    return tensor


def _is_plain(inputs: Any) -> bool:
    """Whether nothing about it can be named."""
    return isinstance(inputs, (list, tuple)) or is_numpy(inputs, "ndarray")


def _is_empty(inputs: Any) -> bool:
    return isinstance(inputs, (list, tuple)) and not inputs


def _arrays() -> ModuleType:
    """Give the module for arrays: it imports NumPy, which takes a while and may be missing."""
    try:
        from pushserve_client import array_messages  # noqa: PLC0415
    except ModuleNotFoundError:
        raise BadData(
            "this is not a list of rows, each a list of as many numbers; any other form of array "
            "needs NumPy, which is not installed here: pip install 'pushserve-client[numpy]'"
        ) from None
    return array_messages


def _is_column(value: object) -> bool:
    if isinstance(value, ColumnValues):
        return True
    if isinstance(value, _LISTS) and not hasattr(value, "_fields"):
        return True
    if is_pandas(value, "DataFrame") or isinstance(value, Mapping):
        return False
    # Not an array without axes: that is a value.
    is_array = hasattr(value, "__array__") and getattr(value, "ndim", 1) > 0
    return arrow_data.has_arrow(value) or (is_array and not is_numpy(value, "generic"))


def table_from_columns(columns: Mapping[Any, Any]) -> pb.Table:
    """Build a table of lists, arrays or Series by name; None, NaN and NA are nulls.

    Raises:
        BadData: columns differ in length, or one mixes types.
    """
    unsent = UnsentColumns()
    made = _made_table(columns, unsent)
    unsent.refuse()
    return made


def _made_table(columns: Mapping[Any, Any], unsent: UnsentColumns) -> pb.Table:
    names = [str(name) for name in columns]
    _check_names(names)
    pairs = zip(names, columns.values())
    made = unsent.sent((name, partial(_column, name, values)) for name, values in pairs)
    lengths = {one.name: _length(one) for one in made}
    if len(set(lengths.values())) > 1:
        raise BadData(f"columns differ in length: {lengths}")
    return pb.Table(columns=made)


def _length(column: pb.Column) -> int:
    return len(getattr(column, column.WhichOneof("values") or "doubles").values)


def _column(name: str, values: Any) -> pb.Column:
    if isinstance(values, ColumnValues):
        return column_from_values(name, *values)
    if isinstance(values, _LISTS):
        return column_from_values(name, list(values))
    if any(is_pandas(values, kind) for kind in ("Series", "Index")) or hasattr(values, "isna"):
        return cast("pb.Column", _arrays().column_from_series(name, values))
    if is_numpy(values, "ndarray"):
        return cast("pb.Column", _arrays().column_from_array(name, values))
    if arrow_data.has_arrow(values):
        return column_from_values(name, *arrow_data.values_of_column(name, values))
    return cast("pb.Column", _arrays().column_from_array(name, _arrays().np.asarray(values)))


def _table(
    columns: Sequence[tuple[str, ColumnValues | BadData]], unsent: UnsentColumns
) -> pb.Table:
    _check_names([name for name, _ in columns])
    makers = (
        (
            name,
            failing(values)
            if isinstance(values, BadData)
            else partial(column_from_values, name, *values),
        )
        for name, values in columns
    )
    return pb.Table(columns=unsent.sent(makers))


def _check_names(names: Sequence[str]) -> None:
    doubled = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) < len(names)
        else []
    )
    if doubled:
        raise BadData(f"these columns are given twice: {', '.join(doubled)}")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BadData(
                f"the column's name {name!r} holds half of a surrogate pair, which cannot be sent"
            ) from None
