"""Outlier converters: what tells outliers from the rest, in doubles, with its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

from pushserve_sandbox.onnx_compiler.converters.kernels import usual_kernel
from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.tree_ensemble import ensemble_attributes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import Tree, tree_of


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    options = {"score_samples": [True, False]}
    register_converter(IsolationForest, _types, _isolated, options)
    register_converter(OneClassSVM, _types, _outside, options)


def _types(operator: Any) -> None:
    operator.outputs[0].set_type(Int64TensorType([None]))
    operator.outputs[1].set_type(DoubleTensorType([None, 1]))


def _isolated(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Sum the lengths of the trees' paths to a row's leaves: those of an outlier are short."""
    trees = [_path_tree(model, number) for number in range(len(model.estimators_))]
    rounded = nodes.cast(nodes.cast(source, TensorProto.FLOAT), TensorProto.DOUBLE)
    attributes = ensemble_attributes(trees, [0] * len(trees), 1)
    length = nodes.add_ml("TreeEnsemble", [rounded], **attributes)
    usual = nodes.constant(-len(trees) * _average_path(model.max_samples_))
    isolation = nodes.add("Pow", [nodes.constant(2.0), nodes.add("Div", [length, usual])])
    scores = nodes.add("Sub", [nodes.add("Neg", [isolation]), nodes.constant(float(model.offset_))])
    nodes.add("Identity", [scores], outputs[1])
    _label(nodes, nodes.add("Less", [scores, nodes.constant(0.0)]), outputs[0])


def _path_tree(model: Any, number: int) -> Tree:
    """Give a tree over the model's features whose leaves hold the lengths of their paths."""
    tree = tree_of(model.estimators_[number])
    columns = np.asarray(model.estimators_features_[number], np.int64)
    steps = np.asarray(model._decision_path_lengths[number], np.float64)  # noqa: SLF001 (there is no other way to it)
    further = np.asarray(model._average_path_length_per_tree[number])  # noqa: SLF001 (as above)
    lengths = (steps + further - 1.0).reshape(-1, 1)
    return replace(tree, feature=columns[tree.feature], values=lengths)


def _average_path(rows: int) -> float:
    """Give the average path length in a tree of so many rows (Liu, Ting, Zhou 2008, eq. 1)."""
    if rows <= 2:
        return float(max(rows - 1, 0))
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)


def _outside(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    vectors = model.support_vectors_
    vectors = np.asarray(vectors.toarray() if hasattr(vectors, "toarray") else vectors, np.float64)
    gamma = float(model._gamma)  # noqa: SLF001 (there is no other way to it)
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    kernel = usual_kernel(nodes, model, doubles, vectors, gamma)
    weights = nodes.constant(np.asarray(model.dual_coef_, np.float64).reshape(-1, 1))
    sums = nodes.add("MatMul", [kernel, weights])
    scores = nodes.add("Add", [sums, nodes.constant(np.asarray(model.intercept_, np.float64))])
    nodes.add("Identity", [scores], outputs[1])
    _label(nodes, nodes.add("LessOrEqual", [scores, nodes.constant(0.0)]), outputs[0])


def _label(nodes: Nodes, is_outlier: str, output: str) -> None:
    """Give -1 for outliers, else 1."""
    flat = nodes.add("Reshape", [is_outlier, nodes.constant(np.array([-1]))])
    nodes.add("Where", [flat, nodes.constant(np.array(-1)), nodes.constant(np.array(1))], output)
