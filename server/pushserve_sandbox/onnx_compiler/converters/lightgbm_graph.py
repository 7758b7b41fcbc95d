"""LightGBM converter: in doubles, as it computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType

from pushserve_sandbox.onnx_compiler.converters.registration import add_label
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.tree_ensemble import ensemble_attributes
from pushserve_sandbox.onnx_compiler.trees.lightgbm_trees import (
    NEXT_TO_ZERO,
    LightGBMTrees,
    read_lightgbm,
)
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import (
    NotCompilable,
    constant_tree,
)

_IDENTITY: Final = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})
_EXPONENTIAL: Final = frozenset({"poisson", "gamma", "tweedie"})
_SIGMOID: Final = frozenset({"binary", "cross_entropy", "multiclassova"})
_AXIS: Final = np.array([1])


def classifier(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Convert an LGBMClassifier of two classes or more."""
    found = read_lightgbm(model)
    sums = _sums(nodes, model, found, source)
    if found.objective[0] == "multiclass":
        nodes.add("Identity", [_softmax(nodes, sums)], outputs[1])
    elif found.objective[0] == "multiclassova":
        nodes.add("Identity", [_sigmoid(nodes, found, sums)], outputs[1])
    elif found.objective[0] in _SIGMOID and found.width == 1:
        second = _sigmoid(nodes, found, sums)
        first = nodes.add("Sub", [nodes.constant(1.0), second])
        nodes.add("Concat", [first, second], outputs[1], axis=1)
    else:
        raise NotCompilable(f"an LGBMClassifier of {found.objective[0]}")
    chosen = nodes.add("ArgMax", [outputs[1]], axis=1, keepdims=0)
    add_label(nodes, np.asarray(model.classes_), chosen, outputs[0])


def regressor_types(operator: Any) -> None:
    """Declare one double."""
    operator.outputs[0].set_type(DoubleTensorType([None, 1]))


def regressor(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Convert an LGBMRegressor."""
    found = read_lightgbm(model)
    name, sums = found.objective[0], _sums(nodes, model, found, source)
    if name in _EXPONENTIAL:
        sums = nodes.add("Exp", [sums])
    elif name in _SIGMOID and found.width == 1:
        sums = _sigmoid(nodes, found, sums)
    elif name not in _IDENTITY:
        raise NotCompilable(f"an LGBMRegressor of {name}")
    elif "sqrt" in found.objective:
        sums = nodes.add("Mul", [sums, nodes.add("Abs", [sums])])
    nodes.add("Identity", [sums], outputs[0])


def _sums(nodes: Nodes, model: Any, found: LightGBMTrees, source: str) -> str:
    """Add up leaves [rows, targets], or take their mean where it is a random forest."""
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    zeros = np.zeros((1, model.n_features_in_))
    zeros[0, list(found.zero_is_missing)] = np.nan
    limit = nodes.constant(NEXT_TO_ZERO)
    mask = nodes.add("LessOrEqual", [nodes.add("Abs", [doubles]), limit])
    cleared = nodes.add("Where", [mask, nodes.constant(zeros), doubles])
    trees = [*(constant_tree(0.0) for _ in range(found.width)), *found.trees]
    targets = [*range(found.width), *found.targets]
    attributes = ensemble_attributes(trees, targets, found.width)
    sums = nodes.add_ml("TreeEnsemble", [cleared], **attributes)
    if found.divisor == 1:
        return sums
    return nodes.add("Div", [sums, nodes.constant(float(found.divisor))])


def _sigmoid(nodes: Nodes, found: LightGBMTrees, source: str) -> str:
    one, steep = nodes.constant(1.0), nodes.constant(-found.parameter("sigmoid", 1.0))
    grown = nodes.add("Exp", [nodes.add("Mul", [source, steep])])
    return nodes.add("Div", [one, nodes.add("Add", [one, grown])])


def _softmax(nodes: Nodes, source: str) -> str:
    most = nodes.add("ReduceMax", [source, nodes.constant(_AXIS)], keepdims=1)
    grown = nodes.add("Exp", [nodes.add("Sub", [source, most])])
    total = nodes.add("ReduceSum", [grown, nodes.constant(_AXIS)], keepdims=1)
    return nodes.add("Div", [grown, total])
