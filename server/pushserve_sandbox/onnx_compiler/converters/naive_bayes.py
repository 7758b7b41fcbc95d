"""Naive Bayes converters: in doubles, in the order that scikit-learn adds in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn import naive_bayes

from pushserve_sandbox.onnx_compiler.converters.registration import (
    add_label,
    classifier_types,
    register_converter,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    register_converter(naive_bayes.MultinomialNB, classifier_types, _multinomial)
    register_converter(naive_bayes.ComplementNB, classifier_types, _complement)
    register_converter(naive_bayes.BernoulliNB, classifier_types, _bernoulli)


def _multinomial(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    likely = _likely(nodes, doubles, model.feature_log_prob_, model.class_log_prior_)
    _decide(nodes, model, likely, outputs)


def _complement(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    prior = model.class_log_prior_ if len(model.classes_) == 1 else np.zeros(len(model.classes_))
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    _decide(nodes, model, _likely(nodes, doubles, model.feature_log_prob_, prior), outputs)


def _bernoulli(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    if model.binarize is not None:
        more = nodes.add("Greater", [doubles, nodes.constant(float(model.binarize))])
        doubles = nodes.cast(more, TensorProto.DOUBLE)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    prior = model.class_log_prior_ + absent.sum(axis=1)
    likely = _likely(nodes, doubles, model.feature_log_prob_ - absent, prior)
    _decide(nodes, model, likely, outputs)


def _likely(nodes: Nodes, doubles: str, weights: Any, prior: Any) -> str:
    product = nodes.add("MatMul", [doubles, nodes.constant(np.array(weights.T, np.float64))])
    return nodes.add("Add", [product, nodes.constant(np.array(prior, np.float64))])


def _decide(nodes: Nodes, model: Any, likely: str, outputs: Sequence[str]) -> None:
    """Give label and probabilities of joint likelihoods [rows, classes], as logarithms."""
    nodes.add("Exp", [nodes.add("LogSoftmax", [likely], axis=1)], outputs[1])
    chosen = nodes.add("ArgMax", [likely], axis=1, keepdims=0)
    add_label(nodes, model.classes_, chosen, outputs[0])
