"""Kernels of rows and known points in a graph: of support vectors, ridges and processes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import kernels

from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

Matrix = NDArray[np.float64]

_DIRECT: Final = 100_000


def usual_kernel(nodes: Nodes, model: Any, source: str, points: Matrix, gamma: float) -> str:
    """Give one of the named kernels [rows, points], with the estimator's own settings."""
    if model.kernel == "rbf":
        apart = minus_distances(nodes, source, points)
        return nodes.add("Exp", [nodes.add("Mul", [apart, nodes.constant(gamma)])])
    product = nodes.add("MatMul", [source, nodes.constant(np.array(points.T))])
    if model.kernel == "linear":
        return product
    scaled = nodes.add("Mul", [product, nodes.constant(gamma)])
    scaled = nodes.add("Add", [scaled, nodes.constant(float(model.coef0))])
    if model.kernel in ("poly", "polynomial"):
        return nodes.add("Pow", [scaled, nodes.constant(float(model.degree))])
    if model.kernel == "sigmoid":
        return nodes.add("Tanh", [scaled])
    raise NotCompilable(f"a {type(model).__name__} with another kernel")


def minus_distances(nodes: Nodes, source: str, points: Matrix) -> str:
    """Give minus the squared distances [rows, points].

    They are sums of squared differences, as in libsvm: nothing cancels out. Where that takes
    too many values for each row, they are multiplied out about the points' middle.
    """
    if points.size <= _DIRECT:
        wide = nodes.add("Unsqueeze", [source, nodes.constant(np.array([1]))])
        apart = nodes.add("Sub", [wide, nodes.constant(np.array(points[None]))])
        squares = nodes.add("ReduceSumSquare", [apart, nodes.constant(np.array([2]))], keepdims=0)
        return nodes.add("Neg", [squares])
    middle = points.mean(axis=0)
    around = points - middle
    moved = nodes.add("Sub", [source, nodes.constant(middle)])
    own = nodes.add("ReduceSumSquare", [moved, nodes.constant(np.array([1]))], keepdims=1)
    product = nodes.add("MatMul", [moved, nodes.constant(np.array(2.0 * around.T))])
    sizes = nodes.constant((around**2).sum(axis=1))
    less = nodes.add("Sub", [nodes.add("Sub", [product, own]), sizes])
    return nodes.add("Min", [less, nodes.constant(0.0)])


def process_kernel(nodes: Nodes, kernel: Any, source: str, points: Matrix) -> str:
    """Give a Gaussian process's kernel of rows and points it was fitted on [rows, points].

    Raises:
        NotCompilable: it is of a kind that has no operators here.
    """
    kind = type(kernel)
    if kind in (kernels.Sum, kernels.Product):
        parts = [process_kernel(nodes, k, source, points) for k in (kernel.k1, kernel.k2)]
        return nodes.add("Add" if kind is kernels.Sum else "Mul", parts)
    if kind is kernels.ConstantKernel:
        return nodes.constant(float(kernel.constant_value))
    if kind is kernels.WhiteKernel:
        return nodes.constant(0.0)  # noise of one row is none of another's
    if kind is kernels.DotProduct:
        product = nodes.add("MatMul", [source, nodes.constant(np.array(points.T))])
        return nodes.add("Add", [product, nodes.constant(float(kernel.sigma_0**2))])
    if kind not in (kernels.RBF, kernels.Matern, kernels.RationalQuadratic):
        raise NotCompilable(f"a Gaussian process with the kernel {kind.__name__}")
    scale = np.asarray(kernel.length_scale, np.float64)
    scaled = nodes.add("Div", [source, nodes.constant(scale)])
    return _of_distances(nodes, kernel, minus_distances(nodes, scaled, points / scale))


def _of_distances(nodes: Nodes, kernel: Any, apart: str) -> str:
    if isinstance(kernel, kernels.RationalQuadratic):
        alpha = float(kernel.alpha)
        shared = nodes.add("Div", [apart, nodes.constant(-2.0 * alpha)])
        grown = nodes.add("Add", [shared, nodes.constant(1.0)])
        return nodes.add("Pow", [grown, nodes.constant(-alpha)])
    if not isinstance(kernel, kernels.Matern) or kernel.nu == math.inf:
        return nodes.add("Exp", [nodes.add("Div", [apart, nodes.constant(2.0)])])
    factors = {0.5: 1.0, 1.5: math.sqrt(3), 2.5: math.sqrt(5)}
    if kernel.nu not in factors:
        raise NotCompilable(f"a Matern kernel with nu = {kernel.nu}")
    far = nodes.add("Sqrt", [nodes.add("Neg", [apart])])
    far = nodes.add("Mul", [far, nodes.constant(factors[kernel.nu])])
    shrunk = nodes.add("Exp", [nodes.add("Neg", [far])])
    if kernel.nu == 0.5:
        return shrunk
    near = nodes.add("Add", [far, nodes.constant(1.0)])
    if kernel.nu == 2.5:
        third = nodes.add("Div", [nodes.add("Mul", [far, far]), nodes.constant(3.0)])
        near = nodes.add("Add", [near, third])
    return nodes.add("Mul", [near, shrunk])
