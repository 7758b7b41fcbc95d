"""XGBoost converter: step by step in float32, as it computes.

The sums have its bits. Where it takes exp of a float32, the graph rounds that of a double,
which gives the same float32 or the one beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType

from pushserve_sandbox.onnx_compiler.converters.registration import add_label
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.tree_ensemble import ensemble_attributes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import (
    NotCompilable,
    constant_tree,
)
from pushserve_sandbox.onnx_compiler.trees.xgboost_trees import XGBoosted, read_xgboost

_LARGEST_EXPONENT: Final = np.float32(88.7)
_AXIS: Final = np.array([1])


def classifier(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Convert an XGBClassifier of two classes or more."""
    found = read_xgboost(model)
    sums = _sums(nodes, model, found, source)
    if found.link == "softmax":
        chances = _softmax(nodes, sums)
        best = sums if found.objective == "multi:softmax" else chances
        chosen = nodes.add("ArgMax", [best], axis=1, keepdims=0)
    elif found.link == "logistic" and len(found.base) == 1:
        second = _logistic(nodes, sums)
        first = nodes.add("Sub", [nodes.constant(np.float32(1)), second])
        chances = nodes.add("Concat", [first, second], axis=1)
        positive = nodes.add("Greater", [second, nodes.constant(np.float32(0.5))])
        chosen = nodes.flat_integers(positive)
    else:
        raise NotCompilable(f"an XGBClassifier of {found.objective}")
    nodes.cast(chances, TensorProto.DOUBLE, outputs[1])
    add_label(nodes, np.asarray(model.classes_), chosen, outputs[0])


def regressor_types(operator: Any) -> None:
    """Declare one double for each target."""
    width = len(read_xgboost(operator.raw_operator).base)
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def regressor(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Convert an XGBRegressor of one target or more."""
    found = read_xgboost(model)
    values = _sums(nodes, model, found, source)
    if found.link == "logistic":
        values = _logistic(nodes, values)
    elif found.link == "exponential":
        values = _exponential(nodes, values)
    elif found.link != "identity":
        raise NotCompilable(f"an XGBRegressor of {found.objective}")
    nodes.cast(values, TensorProto.DOUBLE, outputs[0])


def _sums(nodes: Nodes, model: Any, found: XGBoosted, source: str) -> str:
    """Add up leaves [rows, targets], beginning with the base score as a tree of its own."""
    singles = nodes.cast(source, TensorProto.FLOAT)
    missing = np.float32(model.missing)
    if not np.isnan(missing):
        mask = nodes.add("Equal", [singles, nodes.constant(missing)])
        nan = nodes.constant(np.float32(np.nan))
        singles = nodes.add("Where", [mask, nan, singles])
    width = len(found.base)
    trees = [*(constant_tree(float(value)) for value in found.base), *found.trees]
    targets = [*range(width), *found.targets]
    attributes = ensemble_attributes(trees, targets, width, np.float32)
    return nodes.add_ml("TreeEnsemble", [singles], **attributes)


def _exponential(nodes: Nodes, source: str) -> str:
    exact = nodes.add("Exp", [nodes.cast(source, TensorProto.DOUBLE)])
    return nodes.cast(exact, TensorProto.FLOAT)


def _logistic(nodes: Nodes, source: str) -> str:
    most, one = nodes.constant(_LARGEST_EXPONENT), nodes.constant(np.float32(1))
    negative = nodes.add("Min", [nodes.add("Neg", [source]), most])
    return nodes.add("Div", [one, nodes.add("Add", [_exponential(nodes, negative), one])])


def _softmax(nodes: Nodes, source: str) -> str:
    most = nodes.add("ReduceMax", [source, nodes.constant(_AXIS)], keepdims=1)
    grown = _exponential(nodes, nodes.add("Sub", [source, most]))
    doubles = nodes.cast(grown, TensorProto.DOUBLE)
    total = nodes.add("ReduceSum", [doubles, nodes.constant(_AXIS)], keepdims=1)
    return nodes.add("Div", [grown, nodes.cast(total, TensorProto.FLOAT)])
