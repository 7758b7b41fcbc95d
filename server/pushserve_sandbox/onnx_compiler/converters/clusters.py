"""Cluster converters: what finds the nearest centre, or weighs known points by kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn.cluster import AffinityPropagation, Birch, KMeans, MeanShift, MiniBatchKMeans
from sklearn.cross_decomposition import CCA, PLSCanonical
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge

from pushserve_sandbox.onnx_compiler.converters.kernels import process_kernel, usual_kernel
from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

Matrix = NDArray[np.float64]


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    for kind in (KMeans, MiniBatchKMeans):
        register_converter(kind, _clusters_types, _clusters)
    for kind in (AffinityPropagation, MeanShift):
        register_converter(kind, _label_types, _nearest)
    register_converter(Birch, _label_types, _nearest_part)
    register_converter(KernelRidge, _value_types, _ridge)
    flags = [True, False]
    options = {"return_cov": flags, "return_std": flags}
    register_converter(GaussianProcessRegressor, _value_types, _process, options)
    for kind in (CCA, PLSCanonical):
        register_converter(kind, _value_types, _cross)


def _clusters_types(operator: Any) -> None:
    _label_types(operator)
    operator.outputs[1].set_type(DoubleTensorType([None, operator.raw_operator.n_clusters]))


def _label_types(operator: Any) -> None:
    operator.outputs[0].set_type(Int64TensorType([None]))


def _value_types(operator: Any) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, None]))


def _clusters(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Look for the least `|c|^2 - 2 x c`, as k-means does: far away, `|x|^2` drowns the rest."""
    product, _, sizes = _terms(nodes, source, model.cluster_centers_)
    near = nodes.add("Add", [product, sizes])
    nodes.add("ArgMin", [near], outputs[0], axis=1, keepdims=0)
    nodes.add("Sqrt", [_squares(nodes, source, model.cluster_centers_)], outputs[1])


def _terms(nodes: Nodes, source: str, centres: Any) -> tuple[str, str, str]:
    """Give `-2 x c` [rows, centres], `|x|^2` [rows, 1] and `|c|^2` [centres]."""
    centres = np.asarray(centres, np.float64)
    if len(centres) == 0:
        raise NotCompilable("clusters without centres")
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    product = nodes.add("MatMul", [doubles, nodes.constant(np.array(-2.0 * centres.T))])
    own = nodes.add("ReduceSumSquare", [doubles, nodes.constant(np.array([1]))], keepdims=1)
    return product, own, nodes.constant((centres**2).sum(axis=1))


def _squares(nodes: Nodes, source: str, centres: Any) -> str:
    """Give `|x|^2 - 2 x c + |c|^2` [rows, centres], added up as scikit-learn does."""
    product, own, sizes = _terms(nodes, source, centres)
    squares = nodes.add("Add", [nodes.add("Add", [product, own]), sizes])
    return nodes.add("Max", [squares, nodes.constant(0.0)])


def _nearest(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _find(nodes, source, model.cluster_centers_, outputs[0], *outputs[1:])


def _nearest_part(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    found = _find(nodes, source, model.subcluster_centers_, None, *outputs[1:])
    labels = nodes.constant(np.asarray(model.subcluster_labels_, np.int64))
    nodes.add("Gather", [labels, found], outputs[0])


def _find(
    nodes: Nodes, source: str, centres: Any, output: str | None, scores: str | None = None
) -> str:
    """Find the nearest centre by squared distances, and the first one where all of them drown."""
    squares = _squares(nodes, source, centres)
    if scores is not None:
        nodes.add("Sqrt", [squares], scores)
    return nodes.add("ArgMin", [squares], output, axis=1, keepdims=0)


def _ridge(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    points = _dense(model.X_fit_)
    gamma = 1.0 / points.shape[1] if model.gamma is None else float(model.gamma)
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    kernel = usual_kernel(nodes, model, doubles, points, gamma)
    nodes.add("MatMul", [kernel, _columns(nodes, model.dual_coef_, len(points))], outputs[0])


def _process(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    points = _dense(model.X_train_)
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    kernel = process_kernel(nodes, model.kernel_, doubles, points)
    mean = nodes.add("MatMul", [kernel, _columns(nodes, model.alpha_, len(points))])
    scale, shift = model._y_train_std, model._y_train_mean  # noqa: SLF001 (there is no other way to it)
    scaled = nodes.add("Mul", [mean, nodes.constant(np.asarray(scale, np.float64))])
    nodes.add("Add", [scaled, nodes.constant(np.asarray(shift, np.float64))], outputs[0])


def _cross(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    middle = nodes.constant(np.asarray(model._x_mean, np.float64))  # noqa: SLF001 (as above)
    moved = nodes.add("Sub", [nodes.cast(source, TensorProto.DOUBLE), middle])
    weights = nodes.constant(np.array(np.asarray(model.coef_, np.float64).T))
    shift = nodes.constant(np.asarray(model.intercept_, np.float64))
    nodes.add("Add", [nodes.add("MatMul", [moved, weights]), shift], outputs[0])


def _dense(points: Any) -> Matrix:
    return np.asarray(points.toarray() if hasattr(points, "toarray") else points, np.float64)


def _columns(nodes: Nodes, weights: Any, count: int) -> str:
    return nodes.constant(np.asarray(weights, np.float64).reshape(count, -1))
