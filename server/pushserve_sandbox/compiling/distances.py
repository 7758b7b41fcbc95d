"""Converters for skl2onnx: what compares a row with centres or support vectors, in doubles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from skl2onnx.operator_converters.support_vector_machines import convert_sklearn_svm_classifier
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from pushserve_sandbox.compiling.nodes import Nodes
from pushserve_sandbox.compiling.registering import (
    CLASSIFIER_OPTIONS,
    add_label,
    classifier_types,
    register_converter,
    regressor_types,
)
from pushserve_sandbox.compiling.trees import NotCompilable

Matrix = NDArray[np.float64]


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    for kind in (KMeans, MiniBatchKMeans):
        register_converter(kind, _cluster_types, _cluster)
    for kind in (SVR, NuSVR):
        register_converter(kind, regressor_types, _support_values)
    for kind in (SVC, NuSVC):
        options = {**CLASSIFIER_OPTIONS, "raw_scores": [True, False]}
        update_registered_converter(
            kind, f"Pushserve{kind.__name__}", _support_types, _convert_support, options=options
        )


def _cluster_types(operator: Any) -> None:
    operator.outputs[0].set_type(Int64TensorType([None]))
    operator.outputs[1].set_type(DoubleTensorType([None, operator.raw_operator.n_clusters]))


def _cluster(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Compare `|c|^2 - 2 x c`, as scikit-learn does: far away, `|x|^2` would drown the rest."""
    centres = np.asarray(model.cluster_centers_, np.float64)
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    product = nodes.add("MatMul", [doubles, nodes.constant(np.array(-2.0 * centres.T))])
    sizes = nodes.constant((centres**2).sum(axis=1))
    near = nodes.add("Add", [product, sizes])
    nodes.add("ArgMin", [near], outputs[0], axis=1, keepdims=0)
    own = nodes.add("ReduceSumSquare", [doubles, nodes.constant(np.array([1]))], keepdims=1)
    squares = nodes.add("Add", [nodes.add("Add", [product, own]), sizes])
    nodes.add("Sqrt", [nodes.add("Max", [squares, nodes.constant(0.0)])], outputs[1])


def _support_values(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    product = nodes.add("MatMul", [_kernel(nodes, model, source), _column(nodes, model.dual_coef_)])
    nodes.add("Add", [product, nodes.constant(np.asarray(model.intercept_))], outputs[0])


def _support_types(operator: Any) -> None:
    classifier_types(operator)
    count = len(operator.raw_operator.classes_)
    operator.outputs[1].set_type(DoubleTensorType([None, count if count > 2 else 1]))
    if operator.raw_operator.probability is True:
        operator.outputs[1].set_type(DoubleTensorType([None, count]))


def _convert_support(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    if (
        model.probability is True
        or container.get_options(model, {"raw_scores": False})["raw_scores"]
    ):
        # Its chances come from scores by an iteration, which is an operator of ONNX.
        convert_sklearn_svm_classifier(scope, operator, container)
        return
    outputs = [item.full_name for item in operator.outputs]
    _support_class(Nodes(scope, container), model, operator.inputs[0].full_name, outputs)


def _support_class(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    kernel = _kernel(nodes, model, source)
    if len(model.classes_) == 2:
        product = nodes.add("MatMul", [kernel, _column(nodes, model.dual_coef_)])
        nodes.add("Add", [product, nodes.constant(np.asarray(model.intercept_))], outputs[1])
        second = nodes.add("GreaterOrEqual", [outputs[1], nodes.constant(0.0)])
        flat = nodes.add("Reshape", [second, nodes.constant(np.array([-1]))])
        add_label(nodes, model.classes_, nodes.cast(flat, TensorProto.INT64), outputs[0])
        return
    if model.break_ties:
        raise NotCompilable(f"a {type(model).__name__} that breaks ties")
    product = nodes.add("MatMul", [kernel, nodes.constant(_pair_weights(model))])
    scores = nodes.add("Add", [product, nodes.constant(np.asarray(model.intercept_))])
    _vote(nodes, model, scores, outputs)


def _vote(nodes: Nodes, model: Any, scores: str, outputs: Sequence[str]) -> None:
    """Let each pair of classes vote for one; of equal votes, the first class wins."""
    pairs = list(combinations(range(len(model.classes_)), 2))
    firsts, seconds = np.zeros((2, len(pairs), len(model.classes_)))
    for number, (first, second) in enumerate(pairs):
        firsts[number, first] = seconds[number, second] = 1.0
    none = nodes.constant(0.0)
    won = nodes.cast(nodes.add("Greater", [scores, none]), TensorProto.DOUBLE)
    votes = _votes(nodes, won, firsts, seconds)
    chosen = nodes.add("ArgMax", [votes], axis=1, keepdims=0)
    add_label(nodes, model.classes_, chosen, outputs[0])
    if model.decision_function_shape == "ovo":
        nodes.add("Identity", [scores], outputs[1])
        return
    # The decision function counts a score of 0 for the first class, unlike the label.
    kept = nodes.cast(nodes.add("GreaterOrEqual", [scores, none]), TensorProto.DOUBLE)
    sure = nodes.add("MatMul", [scores, nodes.constant(firsts - seconds)])
    size = nodes.add("Add", [nodes.add("Abs", [sure]), nodes.constant(1.0)])
    part = nodes.add("Div", [sure, nodes.add("Mul", [size, nodes.constant(3.0)])])
    nodes.add("Add", [_votes(nodes, kept, firsts, seconds), part], outputs[1])


def _votes(nodes: Nodes, won: str, firsts: Matrix, seconds: Matrix) -> str:
    lost = nodes.add("Sub", [nodes.constant(1.0), won])
    own = nodes.add("MatMul", [won, nodes.constant(firsts)])
    return nodes.add("Add", [own, nodes.add("MatMul", [lost, nodes.constant(seconds)])])


def _pair_weights(model: Any) -> Matrix:
    """Give the weight of each support vector in each pair of classes [vectors, pairs]."""
    coefficients = np.asarray(model.dual_coef_, np.float64)
    ends = np.cumsum([0, *model.n_support_])
    pairs = list(combinations(range(len(model.classes_)), 2))
    weights = np.zeros((coefficients.shape[1], len(pairs)))
    for number, (first, second) in enumerate(pairs):
        of_first, of_second = (slice(ends[i], ends[i + 1]) for i in (first, second))
        weights[of_first, number] = coefficients[second - 1, of_first]
        weights[of_second, number] = coefficients[first, of_second]
    return weights


def _column(nodes: Nodes, weights: Any) -> str:
    return nodes.constant(np.asarray(weights, np.float64).reshape(-1, 1))


def _kernel(nodes: Nodes, model: Any, source: str) -> str:
    """Give the kernel of each row and each support vector [rows, vectors]."""
    vectors = model.support_vectors_
    vectors = np.asarray(vectors.toarray() if hasattr(vectors, "toarray") else vectors, np.float64)
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    gamma = nodes.constant(float(model._gamma))  # noqa: SLF001 (there is no other way to it)
    if model.kernel == "rbf":
        return nodes.add("Exp", [nodes.add("Mul", [_apart(nodes, doubles, vectors), gamma])])
    product = nodes.add("MatMul", [doubles, nodes.constant(np.array(vectors.T))])
    if model.kernel == "linear":
        return product
    scaled = nodes.add("Mul", [product, gamma])
    scaled = nodes.add("Add", [scaled, nodes.constant(float(model.coef0))])
    if model.kernel == "poly":
        return nodes.add("Pow", [scaled, nodes.constant(float(model.degree))])
    if model.kernel == "sigmoid":
        return nodes.add("Tanh", [scaled])
    raise NotCompilable(f"a {type(model).__name__} with a kernel of its own")


def _apart(nodes: Nodes, doubles: str, vectors: Matrix) -> str:
    """Give minus the squared distances, about the vectors' middle: little is lost there."""
    middle = vectors.mean(axis=0)
    around = vectors - middle
    moved = nodes.add("Sub", [doubles, nodes.constant(middle)])
    own = nodes.add("ReduceSumSquare", [moved, nodes.constant(np.array([1]))], keepdims=1)
    product = nodes.add("MatMul", [moved, nodes.constant(np.array(2.0 * around.T))])
    sizes = nodes.constant((around**2).sum(axis=1))
    less = nodes.add("Sub", [nodes.add("Sub", [product, own]), sizes])
    return nodes.add("Min", [less, nodes.constant(0.0)])
