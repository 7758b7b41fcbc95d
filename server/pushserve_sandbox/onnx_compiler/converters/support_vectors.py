"""Support vector converters: in doubles, with the scores of two classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.operator_converters.support_vector_machines import convert_sklearn_svm_classifier
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from pushserve_sandbox.onnx_compiler.converters.kernels import usual_kernel
from pushserve_sandbox.onnx_compiler.converters.registration import (
    CLASSIFIER_OPTIONS,
    add_label,
    classifier_types,
    register_converter,
    regressor_types,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

Matrix = NDArray[np.float64]


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    for kind in (SVR, NuSVR):
        register_converter(kind, regressor_types, _support_values)
    for kind in (SVC, NuSVC):
        options = {**CLASSIFIER_OPTIONS, "raw_scores": [True, False]}
        update_registered_converter(
            kind, f"Pushserve{kind.__name__}", _support_types, _convert_support, options=options
        )


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
        # As in libsvm, what is no number falls to the second class.
        second = nodes.add("Not", [nodes.add("Less", [outputs[1], nodes.constant(0.0)])])
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
    gamma = float(model._gamma)  # noqa: SLF001 (there is no other way to it)
    return usual_kernel(nodes, model, nodes.cast(source, TensorProto.DOUBLE), vectors, gamma)
