"""Converters of classifiers that decide by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import _get_sklearn_operator_name
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from skl2onnx.operator_converters.one_vs_rest_classifier import convert_one_vs_rest_classifier
from sklearn import linear_model, svm
from sklearn.ensemble import VotingClassifier
from sklearn.multiclass import OneVsRestClassifier

from pushserve_sandbox.compat import FixedThresholdClassifier, TunedThresholdClassifierCV
from pushserve_sandbox.onnx_compiler.converters.registration import (
    CLASSIFIER_OPTIONS,
    add_label,
    classifier_types,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_LINEAR: Final = (
    linear_model.LogisticRegression,
    linear_model.RidgeClassifier,
    svm.LinearSVC,
)
_SCORED: Final = (svm.SVC, svm.NuSVC)
Converter = Callable[[Any, Any, Any], None]


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    converters: dict[type[Any], Converter] = {
        VotingClassifier: _convert_voting,
        FixedThresholdClassifier: _convert_fixed,
        TunedThresholdClassifierCV: _convert_tuned,
        OneVsRestClassifier: _convert_one_vs_rest,
    }
    options = {**CLASSIFIER_OPTIONS, "raw_scores": [True, False]}
    for kind, converter in converters.items():
        alias = f"Pushserve{kind.__name__}"
        update_registered_converter(kind, alias, classifier_types, converter, options=options)


def _inner(scope: Any, operator: Any, estimator: Any) -> tuple[str, str]:
    """Have a classifier inside of another one converted; give its label and probabilities."""
    kind = _get_sklearn_operator_name(type(estimator))
    inner = scope.declare_local_operator(kind, estimator)
    inner.inputs = operator.inputs
    texts = estimator.classes_.dtype.kind in "OU"
    label = StringTensorType([None]) if texts else Int64TensorType([None])
    width = len(estimator.classes_)
    inner.outputs.append(scope.declare_local_variable("pushserve_label", label))
    scores = scope.declare_local_variable("pushserve_scores", DoubleTensorType([None, width]))
    inner.outputs.append(scores)
    return tuple(item.full_name for item in inner.outputs)


def _convert_voting(scope: Any, operator: Any, container: Any) -> None:
    model, nodes = operator.raw_operator, Nodes(scope, container)
    label, chances = (item.full_name for item in operator.outputs)
    parts = [_inner(scope, operator, estimator) for estimator in model.estimators_]
    weights = model._weights_not_none  # noqa: SLF001 (there is no other way to it)
    weights = np.ones(len(parts)) if weights is None else np.asarray(weights, np.float64)
    if model.voting == "soft":
        votes = [nodes.cast(part, TensorProto.DOUBLE) for _, part in parts]
    else:
        votes = [_as_votes(nodes, part, len(model.classes_)) for part, _ in parts]
    total = nodes.add("Mul", [votes[0], nodes.constant(weights[0])])
    for vote, weight in zip(votes[1:], weights[1:], strict=True):
        weighed = nodes.add("Mul", [vote, nodes.constant(weight)])
        total = nodes.add("Add", [total, weighed])
    nodes.add("Div", [total, nodes.constant(weights.sum())], chances)
    counted = chances if model.voting == "soft" else total
    chosen = nodes.add("ArgMax", [counted], axis=1, keepdims=0)
    add_label(nodes, model.classes_, chosen, label)


def _as_votes(nodes: Nodes, label: str, classes: int) -> str:
    """Give a one for the class that a label, which is a class's number, is for."""
    column = nodes.add("Reshape", [label, nodes.constant(np.array([-1, 1]))])
    equal = nodes.add("Equal", [column, nodes.constant(np.arange(classes))])
    return nodes.cast(equal, TensorProto.DOUBLE)


def _convert_fixed(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    threshold = 0.5 if model.threshold == "auto" else float(model.threshold)
    _threshold(scope, operator, container, threshold, model.pos_label)


def _convert_tuned(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    positive = model._curve_scorer._get_pos_label()  # noqa: SLF001 (there is no other way to it)
    _threshold(scope, operator, container, float(model.best_threshold_), positive)


def _threshold(scope: Any, operator: Any, container: Any, threshold: float, positive: Any) -> None:
    model, nodes = operator.raw_operator, Nodes(scope, container)
    usual = model.response_method in ("auto", "predict_proba")
    if not usual or not hasattr(model.estimator_, "predict_proba"):
        raise NotCompilable(f"a {type(model).__name__} that decides by a decision function")
    label, chances = (item.full_name for item in operator.outputs)
    _, inner = _inner(scope, operator, model.estimator_)
    nodes.cast(inner, TensorProto.DOUBLE, chances)
    place = 1 if positive is None else int(np.flatnonzero(model.classes_ == positive)[0])
    score = nodes.add("Gather", [chances, nodes.constant(np.array(place))], axis=1)
    enough = nodes.add("GreaterOrEqual", [score, nodes.constant(threshold)])
    order = nodes.constant(np.array([1 - place, place]))
    chosen = nodes.add("Gather", [order, nodes.cast(enough, TensorProto.INT64)])
    add_label(nodes, model.classes_, chosen, label)


def _convert_one_vs_rest(scope: Any, operator: Any, container: Any) -> None:
    """Compare scores, where there are some; skl2onnx's own compares chances, which may tie at 1."""
    model, nodes = operator.raw_operator, Nodes(scope, container)
    inner = model.estimators_
    kinds = {type(item) for item in inner}
    if len(inner) < 3 or model.multilabel_ or not (kinds <= {*_LINEAR} or kinds <= {*_SCORED}):
        convert_one_vs_rest_classifier(scope, operator, container)
        return
    label, chances = (item.full_name for item in operator.outputs)
    if kinds <= {*_SCORED}:
        parts = [_inner(scope, operator, item)[1] for item in inner]
        scores = nodes.add("Concat", parts, axis=1)
    else:
        scores = _linear_scores(nodes, inner, operator.inputs[0].full_name)
    # Of equal scores, scikit-learn takes the last one.
    chosen = nodes.add("ArgMax", [scores], axis=1, keepdims=0, select_last_index=1)
    add_label(nodes, model.classes_, chosen, label)
    if not hasattr(model, "predict_proba"):
        nodes.add("Identity", [scores], chances)
        return
    _share(nodes, scores, chances)


def _linear_scores(nodes: Nodes, inner: Sequence[Any], source: str) -> str:
    weights = np.column_stack([np.ravel(e.coef_) for e in inner]).astype(np.float64)
    shift = np.concatenate([np.ravel(np.broadcast_to(e.intercept_, 1)) for e in inner])
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    product = nodes.add("MatMul", [doubles, nodes.constant(weights)])
    return nodes.add("Add", [product, nodes.constant(shift.astype(np.float64))])


def _share(nodes: Nodes, scores: str, output: str) -> None:
    """Give each class's chance alone, divided by the sum of them."""
    one = nodes.constant(1.0)
    grown = nodes.add("Add", [nodes.add("Exp", [nodes.add("Neg", [scores])]), one])
    single = nodes.add("Div", [one, grown])
    total = nodes.add("ReduceSum", [single, nodes.constant(np.array([1]))], keepdims=1)
    none = nodes.add("Equal", [total, nodes.constant(0.0)])
    nodes.add("Div", [single, nodes.add("Where", [none, one, total])], output)
