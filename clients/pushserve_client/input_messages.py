"""Input messages: from Python data to a request's inputs, a tensor, a table or rows.

| given | sent as |
|---|---|
| NumPy array [rows, features], list of lists of numbers | tensor |
| pandas DataFrame, dict of columns (lists, arrays, Series) | table |
| list of dicts, one dict | rows |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.value_messages import (
    column_from_values,
    is_numpy,
    row_to_struct,
    tensor_from_lists,
)


def fill_inputs(request: pb.PredictRequest, inputs: Any) -> None:
    """Put `inputs` into `request`, in the form that the module's table names.

    A dict whose values are all columns is a table; any other dict is one row.

    Raises:
        BadData: they cannot be sent; the text says which column and what would be right.
    """
    if _is_data_frame(inputs):
        request.table.CopyFrom(_arrays().table_from_frame(inputs))
    elif isinstance(inputs, Mapping):
        if inputs and all(_is_column(value) for value in inputs.values()):
            request.table.CopyFrom(table_from_columns(inputs))
        else:
            request.rows.append(row_to_struct(inputs))
    elif isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], Mapping):
        request.rows.extend(row_to_struct(row) for row in inputs)
    else:
        request.tensor.CopyFrom(_tensor(inputs))


def _tensor(inputs: Any) -> pb.Tensor:
    tensor = tensor_from_lists(inputs)
    if tensor is None:
        tensor = _arrays().tensor_from_array(inputs)
    return tensor


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


def _is_data_frame(value: object) -> bool:
    """Whether it is a pandas DataFrame, without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def _is_column(value: object) -> bool:
    return isinstance(value, (list, tuple)) or is_numpy(value, "ndarray") or _is_series(value)


def _is_series(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy")


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
        return cast("pb.Column", _arrays().column_from_series(name, values))
    if is_numpy(values, "ndarray"):
        return cast("pb.Column", _arrays().column_from_array(name, values))
    return column_from_values(name, values)
