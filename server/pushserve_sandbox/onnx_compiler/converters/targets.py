"""Target converters: regressors of a changed target, and those that always say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import _get_sklearn_operator_name
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from pushserve_sandbox.onnx_compiler.converters.registration import (
    add_label,
    classifier_types,
    register_converter,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

Inverse = Callable[[Nodes, str], str]


def _minus_one(nodes: Nodes, source: str) -> str:
    """Give exp(x) - 1 also where x is small: (u - 1) x / log(u), u = exp(x) (Kahan)."""
    one = nodes.constant(1.0)
    grown = nodes.add("Exp", [source])
    less = nodes.add("Sub", [grown, one])
    share = nodes.add("Div", [source, nodes.add("Log", [grown])])
    small = nodes.add("Less", [nodes.add("Abs", [source]), one])
    result = nodes.add("Where", [small, nodes.add("Mul", [less, share]), less])
    return nodes.add("Where", [nodes.add("Equal", [grown, one]), source, result])


def _of_one_more(nodes: Nodes, source: str) -> str:
    """Give log(1 + x) also where x is small: log(u) x / (u - 1), u = 1 + x (Kahan)."""
    one = nodes.constant(1.0)
    more = nodes.add("Add", [source, one])
    logs = nodes.add("Log", [more])
    share = nodes.add("Div", [source, nodes.add("Sub", [more, one])])
    small = nodes.add("Less", [nodes.add("Abs", [source]), one])
    result = nodes.add("Where", [small, nodes.add("Mul", [logs, share]), logs])
    return nodes.add("Where", [nodes.add("Equal", [more, one]), source, result])


_FUNCTIONS: Final[dict[Any, Inverse]] = {
    None: lambda nodes, source: nodes.add("Identity", [source]),
    np.exp: lambda nodes, source: nodes.add("Exp", [source]),
    np.expm1: _minus_one,
    np.log: lambda nodes, source: nodes.add("Log", [source]),
    np.log1p: _of_one_more,
    np.sqrt: lambda nodes, source: nodes.add("Sqrt", [source]),
    np.square: lambda nodes, source: nodes.add("Mul", [source, source]),
}


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    update_registered_converter(
        TransformedTargetRegressor,
        "PushserveTransformedTargetRegressor",
        _target_types,
        _convert_target,
    )
    register_converter(DummyRegressor, _value_types, _same_value)
    register_converter(DummyClassifier, classifier_types, _same_class)


def _target_types(operator: Any) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, 1]))


def _value_types(operator: Any) -> None:
    width = operator.raw_operator.n_outputs_
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def _convert_target(scope: Any, operator: Any, container: Any) -> None:
    """Have the inner regressor converted, and its values changed back."""
    model = operator.raw_operator
    inner = scope.declare_local_operator(
        _get_sklearn_operator_name(type(model.regressor_)), model.regressor_
    )
    inner.inputs = operator.inputs
    variable = scope.declare_local_variable("pushserve_value", DoubleTensorType([None, 1]))
    inner.outputs.append(variable)
    nodes = Nodes(scope, container)
    doubles = nodes.cast(variable.full_name, TensorProto.DOUBLE)
    column = nodes.add("Reshape", [doubles, nodes.constant(np.array([-1, 1]))])
    nodes.add(
        "Identity", [_inverse(nodes, model.transformer_, column)], operator.outputs[0].full_name
    )


def _inverse(nodes: Nodes, transformer: Any, source: str) -> str:
    if isinstance(transformer, FunctionTransformer):
        found = next((f for k, f in _FUNCTIONS.items() if k is transformer.inverse_func), None)
        if found is None:
            raise NotCompilable("a target that is changed back by a function of its own")
        return found(nodes, source)
    scale, shift = _scale_and_shift(transformer)
    scaled = nodes.add("Mul", [source, nodes.constant(scale)])
    return nodes.add("Add", [scaled, nodes.constant(shift)])


def _scale_and_shift(transformer: Any) -> tuple[float, float]:
    one, none = np.ones(1), np.zeros(1)
    kind = type(transformer)
    if kind is MinMaxScaler:
        return 1 / float(transformer.scale_[0]), -float(transformer.min_[0] / transformer.scale_[0])
    names = {StandardScaler: "mean_", RobustScaler: "center_", MaxAbsScaler: ""}
    if kind not in names:
        raise NotCompilable(f"a target that is changed back by a {kind.__name__}")
    scale = getattr(transformer, "scale_", None)
    shift = getattr(transformer, names[kind], None) if names[kind] else None
    return float((one if scale is None else scale)[0]), float((none if shift is None else shift)[0])


def _repeated(nodes: Nodes, values: Any, source: str, output: str | None = None) -> str:
    """Give a row of values for each row of the input."""
    row = np.asarray(values, np.float64).reshape(1, -1)
    rows = nodes.add("Shape", [source], end=1)
    shape = nodes.add("Concat", [rows, nodes.constant(np.array([row.shape[1]]))], axis=0)
    return nodes.add("Expand", [nodes.constant(row), shape], output)


def _same_value(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _repeated(nodes, model.constant_, source, outputs[0])


def _same_class(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    if model.strategy in ("stratified", "uniform"):
        raise NotCompilable("a classifier that answers by chance")
    blank = np.zeros((1, getattr(model, "n_features_in_", 1)))
    chances = model.predict_proba(blank)
    chosen = int(np.flatnonzero(model.classes_ == model.predict(blank)[0])[0])
    _repeated(nodes, chances, source, outputs[1])
    numbers = nodes.cast(_repeated(nodes, [chosen], source), TensorProto.INT64)
    flat = nodes.add("Reshape", [numbers, nodes.constant(np.array([-1]))])
    add_label(nodes, model.classes_, flat, outputs[0])
