"""Scores: labels and probabilities from them, as classifiers define these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Scores = NDArray[Any]


def score_outputs(
    classes: NDArray[Any], probabilities: Callable[[Scores], Any] | None, *, zero: bool = False
) -> dict[str, Callable[[Scores], Any]]:
    """Give the outputs of scores of shape [rows, classes], or [rows] or [rows, 1] for two.

    With two classes, a score above zero means the second one; so does zero itself if `zero`.
    `probabilities` takes what `decision_function` gives.
    """

    def squeezed(scores: Scores) -> Scores:
        return scores.reshape(-1) if scores.ndim > 1 and scores.shape[1] == 1 else scores

    def labels(scores: Scores) -> NDArray[Any]:
        scores = squeezed(scores)
        if scores.ndim > 1:
            indices = np.argmax(scores, axis=1)
        else:
            indices = (scores >= 0 if zero else scores > 0).astype(np.intp)
        found: NDArray[Any] = classes.take(indices, axis=0)
        return found

    outputs: dict[str, Callable[[Scores], Any]] = {"label": labels, "decision_function": squeezed}
    if probabilities is not None:
        outputs["probabilities"] = lambda scores: probabilities(squeezed(scores))
        outputs["log_probabilities"] = lambda scores: np.log(probabilities(squeezed(scores)))
    return outputs


def logistic(scores: Scores) -> NDArray[Any]:
    """Give probabilities of two classes, [rows, 2], from scores of shape [rows]."""
    second = expit(scores)
    return np.stack([1 - second, second], axis=1)


def softmax(scores: Scores) -> NDArray[Any]:
    """Give probabilities, [rows, classes], in the order of operations of scikit-learn's own."""
    result: NDArray[Any] = scores - scores.max(axis=1, keepdims=True)
    np.exp(result, out=result)
    result /= result.sum(axis=1, keepdims=True)
    return result
