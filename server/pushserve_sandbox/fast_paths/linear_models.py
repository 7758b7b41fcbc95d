"""Linear models: one product, without the checks around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge, RidgeClassifier
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel

from pushserve_sandbox.compat import MultiOutputLinearModel
from pushserve_sandbox.fast_paths.scores import logistic, score_outputs, softmax
from pushserve_sandbox.prediction.fast_path import ONE_PASS, FastPath, is_matrix, is_own


def linear_paths(estimator: Any) -> Iterator[FastPath]:
    """Give the fast paths of a linear classifier or regressor."""
    coefficients = getattr(estimator, "coef_", None)
    if not isinstance(coefficients, np.ndarray):
        return
    if _is_classifier(estimator):
        probabilities = None
        if is_own(estimator, "predict_proba", LogisticRegression):
            probabilities = softmax if len(estimator.classes_) > 2 else logistic
        outputs = score_outputs(estimator.classes_, probabilities)
        yield FastPath("one product", _product(estimator, coefficients), outputs)
        yield FastPath(ONE_PASS, estimator.decision_function, outputs)
    elif _is_regressor(estimator):
        product = _product(estimator, coefficients)
        yield FastPath("one product", product, {"value": lambda values: values})


def _is_classifier(estimator: Any) -> bool:
    return is_own(estimator, "predict", LinearClassifierMixin, RidgeClassifier) and is_own(
        estimator, "decision_function", LinearClassifierMixin
    )


def _is_regressor(estimator: Any) -> bool:
    return is_own(estimator, "predict", LinearModel, MultiOutputLinearModel, Ridge) and is_own(
        estimator, "_decision_function", LinearModel, ElasticNet
    )


def _product(estimator: Any, coefficients: NDArray[Any]) -> Any:
    transposed = coefficients.T  # a view: the same order in memory gives the same bits
    columns = transposed.shape[0]
    intercept = estimator.intercept_
    is_column = _is_classifier(estimator) and transposed.ndim == 2 and transposed.shape[1] == 1

    def start(data: Any) -> NDArray[Any] | None:
        if not is_matrix(data, columns) or not np.isfinite(data).all():
            return None
        scores: NDArray[Any] = data @ transposed + intercept
        return scores.reshape(-1) if is_column else scores

    return start
