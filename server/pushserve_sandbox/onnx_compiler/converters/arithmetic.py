"""Arithmetic converters: steps that compute with numbers, in doubles and in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.preprocessing import Normalizer, PolynomialFeatures, PowerTransformer

from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_EPS = float(np.finfo(np.float64).eps)


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    register_converter(PolynomialFeatures, _polynomial_types, _polynomial)
    register_converter(Normalizer, _same_types, _normalize)
    register_converter(PowerTransformer, _same_types, _power)
    register_converter(SequentialFeatureSelector, _chosen_types, _choose)


def _same_types(operator: Any) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, operator.raw_operator.n_features_in_]))


def _chosen_types(operator: Any) -> None:
    width = int(operator.raw_operator.get_support().sum())
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def _choose(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    chosen = nodes.constant(np.flatnonzero(model.get_support()))
    nodes.add("Gather", [nodes.cast(source, TensorProto.DOUBLE), chosen], outputs[0], axis=1)


def _polynomial_types(operator: Any) -> None:
    width = operator.raw_operator.n_output_features_
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def _polynomial(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Multiply products of one factor less by their first factor, as scikit-learn does."""
    wanted = [tuple(item) for item in _products(model)]
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    blocks, places = _block_of_ones(nodes, doubles), {(): 0}
    before: list[tuple[int, ...]] = [()]
    product = blocks
    parts = [blocks]
    for degree in range(1, max(map(len, wanted)) + 1):
        these = sorted({item[i:] for item in wanted for i in [len(item) - degree] if i >= 0})
        numbers = {item: i for i, item in enumerate(before)}
        firsts = nodes.constant(np.array([item[0] for item in these]))
        rests = nodes.constant(np.array([numbers[item[1:]] for item in these]))
        factor = nodes.add("Gather", [doubles, firsts], axis=1)
        product = nodes.add("Mul", [nodes.add("Gather", [product, rests], axis=1), factor])
        for item in these:
            places[item] = len(places)
        parts.append(product)
        before = these
    order = nodes.constant(np.array([places[item] for item in wanted]))
    nodes.add("Gather", [nodes.add("Concat", parts, axis=1), order], outputs[0], axis=1)


def _products(model: Any) -> list[Any]:
    """Which columns each output is the product of."""
    powers = np.asarray(model.powers_)
    return [np.repeat(np.arange(powers.shape[1]), row).tolist() for row in powers]


def _block_of_ones(nodes: Nodes, doubles: str) -> str:
    first = nodes.add("Gather", [doubles, nodes.constant(np.array([0]))], axis=1)
    # A missing value is refused by scikit-learn; zero times infinity is not.
    return nodes.cast(nodes.add("Equal", [first, first]), TensorProto.DOUBLE)


def _normalize(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    axis = nodes.constant(np.array([1]))
    if model.norm == "l2":
        squares = nodes.add("Mul", [doubles, doubles])
        sizes = nodes.add("Sqrt", [nodes.add("ReduceSum", [squares, axis], keepdims=1)])
    elif model.norm == "l1":
        sizes = nodes.add("ReduceL1", [doubles, axis], keepdims=1)
    else:
        sizes = nodes.add("ReduceMax", [nodes.add("Abs", [doubles]), axis], keepdims=1)
    least = nodes.constant(10 * _EPS)
    small = nodes.add("Less", [sizes, least])  # as scikit-learn's scales that are next to 0
    sizes = nodes.add("Where", [small, nodes.constant(1.0), sizes])
    nodes.add("Div", [doubles, sizes], outputs[0])


def _power(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    lambdas = np.asarray(model.lambdas_, np.float64)
    if np.isnan(lambdas).any():
        raise NotCompilable("a PowerTransformer with a column of one value")
    if model.method == "box-cox":
        changed = _powers(nodes, nodes.add("Log", [doubles]), lambdas)
    else:
        one, none = nodes.constant(1.0), nodes.constant(0.0)
        size = nodes.add("Log", [nodes.add("Add", [nodes.add("Abs", [doubles]), one])])
        above = _powers(nodes, size, lambdas)
        below = nodes.add("Neg", [_powers(nodes, size, 2 - lambdas)])
        positive = nodes.add("GreaterOrEqual", [doubles, none])
        changed = nodes.add("Where", [positive, above, below])
    if model.standardize:
        scaler = model._scaler  # noqa: SLF001 (there is no other way to it)
        centred = nodes.add("Sub", [changed, nodes.constant(np.asarray(scaler.mean_))])
        changed = nodes.add("Div", [centred, nodes.constant(np.asarray(scaler.scale_))])
    nodes.add("Identity", [changed], outputs[0])


def _powers(nodes: Nodes, logs: str, lambdas: Any) -> str:
    """Give (exp(lambda * log) - 1) / lambda, and the logarithm itself where lambda is 0."""
    none = np.abs(lambdas) < _EPS
    safe = nodes.constant(np.where(none, 1.0, lambdas))
    grown = nodes.add("Exp", [nodes.add("Mul", [logs, safe])])
    divided = nodes.add("Div", [nodes.add("Sub", [grown, nodes.constant(1.0)]), safe])
    return nodes.add("Where", [nodes.constant(none), logs, divided])
