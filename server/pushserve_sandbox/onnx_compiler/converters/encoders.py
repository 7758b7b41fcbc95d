"""Encoder converters: categories, texts or numbers, and bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
)

from pushserve_sandbox.compat import TargetEncoder
from pushserve_sandbox.onnx_compiler.converters.categories import (
    Column,
    category_number,
    looked_up,
    register_columns_converter,
)
from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.ordinal_codes import Table, grouped_codes, ordinal_tables


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    register_columns_converter(OrdinalEncoder, _ordinal_types, _ordinal)
    register_columns_converter(OneHotEncoder, _one_hot_types, _one_hot)
    register_columns_converter(TargetEncoder, _target_types, _target)
    register_converter(KBinsDiscretizer, _bins_types, _bins)
    register_converter(Binarizer, _same_types, _binarize)


def _doubles(operator: Any, width: int) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def _same_types(operator: Any) -> None:
    _doubles(operator, operator.raw_operator.n_features_in_)


def _ordinal_types(operator: Any) -> None:
    _doubles(operator, len(operator.raw_operator.categories_))


def _one_hot_types(operator: Any) -> None:
    _doubles(operator, sum(table.shape[1] for table in _one_hot_tables(operator.raw_operator)))


def _target_types(operator: Any) -> None:
    _doubles(operator, len(operator.raw_operator.encodings_))


def _bins_types(operator: Any) -> None:
    model = operator.raw_operator
    one_hot = model.encode != "ordinal"
    _doubles(operator, int(model.n_bins_.sum()) if one_hot else len(model.n_bins_))


def _look_up(
    nodes: Nodes,
    model: Any,
    columns: Sequence[Column],
    tables: Sequence[Table],
    output: str,
) -> None:
    """Give each column's row of its table, one beside the other."""
    strict = getattr(model, "handle_unknown", "") == "error"
    parts = []
    for column, categories, table in zip(columns, model.categories_, tables, strict=True):
        number = category_number(nodes, column, np.asarray(categories))
        # A strict encoder refuses an unknown value, which has the number of the last row.
        parts.append(looked_up(nodes, number, table[:-1] if strict else table, refuses=strict))
    nodes.add("Concat", parts, output, axis=1)


def _ordinal(nodes: Nodes, model: Any, columns: Sequence[Column], outputs: Sequence[str]) -> None:
    _look_up(nodes, model, columns, ordinal_tables(model), outputs[0])


def _one_hot(nodes: Nodes, model: Any, columns: Sequence[Column], outputs: Sequence[str]) -> None:
    _look_up(nodes, model, columns, _one_hot_tables(model), outputs[0])


def _one_hot_tables(model: Any) -> list[Table]:
    """Give each column's rows of zeros with a one [categories + 1, width]."""
    dropped = model._drop_idx_after_grouping  # noqa: SLF001 (there is no other way to it)
    tables = []
    for column, values in enumerate(model.categories_):
        groups = grouped_codes(model, column, len(values))
        width = int(groups.max()) + 1
        codes = np.append(groups, _unknown_group(model, column, groups))
        table = np.vstack([np.eye(width), np.zeros((1, width))])[codes]
        drop = None if dropped is None else dropped[column]
        tables.append(table if drop is None else np.delete(table, drop, axis=1))
    return tables


def _unknown_group(model: Any, column: int, groups: NDArray[np.int64]) -> int:
    """Where an unknown value belongs: to the infrequent ones, or nowhere (-1)."""
    if model.handle_unknown not in ("infrequent_if_exist", "warn"):
        return -1
    infrequent = model._infrequent_indices if model._infrequent_enabled else None  # noqa: SLF001 (as above)
    if infrequent is None or infrequent[column] is None:
        return -1
    return int(groups[infrequent[column][0]])


def _target(nodes: Nodes, model: Any, columns: Sequence[Column], outputs: Sequence[str]) -> None:
    means = np.atleast_1d(np.asarray(model.target_mean_, np.float64))
    targets = len(means) if model.target_type_ == "multiclass" else 1
    tables = []
    for column in range(len(model.categories_)):
        parts = model.encodings_[column * targets : (column + 1) * targets]
        tables.append(np.vstack([np.column_stack(parts), means.reshape(1, -1)]))
    _look_up(nodes, model, columns, tables, outputs[0])


def _bins(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Count the inner edges that are not above a value: the number of its bin."""
    inner = [np.asarray(edges, np.float64)[1:-1] for edges in model.bin_edges_]
    most = max(len(edges) for edges in inner)
    edges = np.full((1, len(inner), most + 1), np.inf)
    for column, values in enumerate(inner):
        edges[0, column, : len(values)] = values
    axis = nodes.constant(np.array([2]))
    matrix = nodes.add("Unsqueeze", [nodes.cast(source, TensorProto.DOUBLE), axis])
    above = nodes.add("GreaterOrEqual", [matrix, nodes.constant(edges)])
    number = nodes.add("ReduceSum", [nodes.cast(above, TensorProto.DOUBLE), axis], keepdims=1)
    if model.encode == "ordinal":
        nodes.add("Squeeze", [number, axis], outputs[0])
        return
    bins = np.arange(most + 2, dtype=np.float64)
    equal = nodes.add("Equal", [number, nodes.constant(bins.reshape(1, 1, -1))])
    shape = nodes.constant(np.array([-1, len(inner) * len(bins)]))
    flat = nodes.add("Reshape", [nodes.cast(equal, TensorProto.DOUBLE), shape])
    kept = [c * len(bins) + i for c, count in enumerate(model.n_bins_) for i in range(count)]
    nodes.add("Gather", [flat, nodes.constant(np.array(kept))], outputs[0], axis=1)


def _binarize(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    threshold = nodes.constant(float(model.threshold))
    more = nodes.add("Greater", [nodes.cast(source, TensorProto.DOUBLE), threshold])
    nodes.cast(more, TensorProto.DOUBLE, outputs[0])
