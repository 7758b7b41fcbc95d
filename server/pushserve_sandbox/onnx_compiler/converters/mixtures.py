"""Mixture converter: mixtures of Gaussians, in doubles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn.mixture import GaussianMixture

from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes


def register() -> None:
    """Make skl2onnx use this converter. May be called again."""
    options = {"score_samples": [True, False]}
    register_converter(GaussianMixture, _types, _mixture, options)


def _types(operator: Any) -> None:
    operator.outputs[0].set_type(Int64TensorType([None]))
    operator.outputs[1].set_type(DoubleTensorType([None, operator.raw_operator.n_components]))


def _mixture(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    matrix = model.covariance_type in ("full", "tied")
    squares = _whitened(nodes, model, doubles) if matrix else _weighed(nodes, model, doubles)
    constant = _log_determinants(model) + np.log(model.weights_)
    constant = constant - 0.5 * model.n_features_in_ * np.log(2 * np.pi)
    half = nodes.add("Mul", [squares, nodes.constant(-0.5)])
    likely = nodes.add("Add", [half, nodes.constant(constant)])
    nodes.add("ArgMax", [likely], outputs[0], axis=1, keepdims=0)
    total = nodes.add("ReduceLogSumExp", [likely, nodes.constant(np.array([1]))], keepdims=1)
    nodes.add("Exp", [nodes.add("Sub", [likely, total])], outputs[1])
    # What score_samples gives is on the way, and found there.


def _whitened(nodes: Nodes, model: Any, doubles: str) -> str:
    """Give squared distances [rows, components] by the roots of full precisions."""
    axis, parts = nodes.constant(np.array([1])), []
    for number, mean in enumerate(model.means_):
        roots = model.precisions_cholesky_
        root = np.asarray(roots if model.covariance_type == "tied" else roots[number], np.float64)
        product = nodes.add("MatMul", [doubles, nodes.constant(root)])
        moved = nodes.add("Sub", [product, nodes.constant(np.asarray(mean @ root))])
        parts.append(nodes.add("ReduceSumSquare", [moved, axis], keepdims=1))
    return nodes.add("Concat", parts, axis=1)


def _weighed(nodes: Nodes, model: Any, doubles: str) -> str:
    """Give squared distances by a precision for each feature, or for all of them."""
    means = np.asarray(model.means_, np.float64)
    roots = np.asarray(model.precisions_cholesky_, np.float64).reshape(len(means), -1)
    precisions = np.broadcast_to(roots**2, means.shape)
    own = nodes.add("Mul", [doubles, doubles])
    own = nodes.add("MatMul", [own, nodes.constant(np.array(precisions.T))])
    both = nodes.add("MatMul", [doubles, nodes.constant(np.array(2.0 * (means * precisions).T))])
    sizes = nodes.constant((means**2 * precisions).sum(axis=1))
    return nodes.add("Add", [nodes.add("Sub", [sizes, both]), own])


def _log_determinants(model: Any) -> Any:
    roots = np.asarray(model.precisions_cholesky_, np.float64)
    features = model.n_features_in_
    if model.covariance_type == "full":
        return np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    if model.covariance_type == "tied":
        return np.log(np.diagonal(roots)).sum()
    return np.log(roots).sum(axis=1) if roots.ndim == 2 else features * np.log(roots)
