"""Linear classifier converters: in doubles, where skl2onnx's own use float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.operator_converters.linear_classifier import convert_sklearn_linear_classifier
from sklearn import discriminant_analysis, linear_model, svm

from pushserve_sandbox.onnx_compiler.converters.registration import (
    CLASSIFIER_OPTIONS,
    add_label,
    classifier_types,
    register_converter,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_PLAIN = ("RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier")


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    kinds = [getattr(linear_model, name) for name in _PLAIN if hasattr(linear_model, name)]
    for kind in (*kinds, svm.LinearSVC):
        register_converter(kind, classifier_types, _scored)
    for kind in (linear_model.LogisticRegression, linear_model.LogisticRegressionCV):
        options = {**CLASSIFIER_OPTIONS, "raw_scores": [True, False]}
        update_registered_converter(
            kind, f"Pushserve{kind.__name__}", classifier_types, _convert_logistic, options=options
        )
    register_converter(linear_model.SGDClassifier, classifier_types, _descended)
    register_converter(
        discriminant_analysis.LinearDiscriminantAnalysis, classifier_types, _discriminant
    )


def _convert_logistic(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    if container.get_options(model, {"raw_scores": False})["raw_scores"]:
        # Calibration and stacking ask for scores in a form that skl2onnx's own has.
        convert_sklearn_linear_classifier(scope, operator, container)
        return
    nodes = Nodes(scope, container)
    label, chances = (item.full_name for item in operator.outputs)
    scores = _decide(nodes, model, operator.inputs[0].full_name, label)
    if len(model.classes_) == 2:
        _pair(nodes, nodes.add("Sigmoid", [scores]), chances)
    else:
        nodes.add("Softmax", [scores], chances, axis=1)


def _scored(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    """Give the scores where other classifiers have probabilities."""
    nodes.add("Identity", [_decide(nodes, model, source, outputs[0])], outputs[1])


def _descended(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    if model.loss != "log_loss":
        _scored(nodes, model, source, outputs)
        return
    scores = _decide(nodes, model, source, outputs[0])
    if len(model.classes_) == 2:
        _pair(nodes, nodes.add("Sigmoid", [scores]), outputs[1])
        return
    # ONNX Runtime's Sigmoid is 0 below -38, where this one, as scikit-learn's, is small.
    one = nodes.constant(1.0)
    grown = nodes.add("Add", [nodes.add("Exp", [nodes.add("Neg", [scores])]), one])
    chances = nodes.add("Div", [one, grown])
    total = nodes.add("ReduceSum", [chances, nodes.constant(np.array([1]))], keepdims=1)
    none = nodes.add("Equal", [total, nodes.constant(0.0)])
    equal = nodes.constant(1.0 / len(model.classes_))
    nodes.add("Where", [none, equal, nodes.add("Div", [chances, total])], outputs[1])


def _discriminant(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    scores = _decide(nodes, model, source, outputs[0])
    if len(model.classes_) == 2:
        _pair(nodes, nodes.add("Sigmoid", [scores]), outputs[1])
    else:
        nodes.add("Softmax", [scores], outputs[1], axis=1)


def _pair(nodes: Nodes, second: str, output: str) -> None:
    first = nodes.add("Sub", [nodes.constant(1.0), second])
    nodes.add("Concat", [first, second], output, axis=1)


def _decide(nodes: Nodes, model: Any, source: str, label: str) -> str:
    """Give the scores [rows, classes], or [rows, 1] of two classes, and the label."""
    classes, weights = model.classes_, np.atleast_2d(np.asarray(model.coef_, np.float64))
    if isinstance(classes, list) or getattr(classes, "ndim", 1) != 1:
        raise NotCompilable("a classifier with several outputs")
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    product = nodes.add("MatMul", [doubles, nodes.constant(weights.T)])
    offset = np.broadcast_to(np.asarray(model.intercept_, np.float64), len(weights))
    scores = nodes.add("Add", [product, nodes.constant(np.array(offset))])
    if len(weights) > 1:
        chosen = nodes.add("ArgMax", [scores], axis=1, keepdims=0)
    else:
        positive = nodes.add("Greater", [scores, nodes.constant(0.0)])
        chosen = nodes.flat_integers(positive)
    add_label(nodes, classes, chosen, label)
    return scores
