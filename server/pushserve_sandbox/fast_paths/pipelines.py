"""Pipelines: finds the fast paths of an estimator, through pipelines and searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.ensemble._forest import ForestClassifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.naive_bayes import _BaseNB
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from pushserve_sandbox.compat import logsumexp
from pushserve_sandbox.fast_paths.forests import boosting_paths, forest_paths
from pushserve_sandbox.fast_paths.histogram_boosting import histogram_paths
from pushserve_sandbox.fast_paths.linear_models import linear_paths
from pushserve_sandbox.fast_paths.steps import Step, fast_chain, own_chain
from pushserve_sandbox.inspection.library_types import foreign_part, own_method
from pushserve_sandbox.inspection.own_code import may_write, on_own_values, with_copy
from pushserve_sandbox.inspection.probing import attempt
from pushserve_sandbox.prediction.fast_path import ONE_PASS, FastPath, is_own
from pushserve_sandbox.prediction.model_outputs import output_functions

_STEPS_ONCE: Final = "its steps run once for all outputs"


def fast_paths_of(estimator: Any) -> Iterator[FastPath]:
    """Give the ways through a fitted estimator, the fastest first. None of them is verified."""
    if type(estimator) is Pipeline:
        yield from () if own_method(estimator) else _pipeline_paths(estimator)
    elif isinstance(estimator, BaseSearchCV):
        # A search of another class may answer in its own way.
        yield from () if _is_own_search(estimator) else fast_paths_of(estimator.best_estimator_)
    elif not foreign_part(estimator):
        for family in _FAMILIES:
            fast_paths = attempt(partial(_listed, family, estimator))
            # Where another scikit-learn has renamed what a family looks at, it has no fast paths.
            yield from () if isinstance(fast_paths, BaseException) else fast_paths


def _is_own_search(search: Any) -> bool:
    return type(search).__module__.partition(".")[0] != "sklearn" or bool(own_method(search))


def _listed(family: Callable[[Any], Iterator[FastPath]], estimator: Any) -> list[FastPath]:
    return list(family(estimator))


def _pipeline_paths(pipeline: Any) -> Iterator[FastPath]:
    steps = [step for _, step in pipeline.steps]
    last = steps.pop()
    before = [step for step in steps if step is not None and step != "passthrough"]
    if last is None or last == "passthrough":
        return
    fast, slow = fast_chain(before) if before else None, own_chain(before)
    if any(map(may_write, before)):
        fast, slow = fast and with_copy(fast), with_copy(slow)
    own = slow, not before
    for chain, is_fast in [(fast, True), own] if fast else [own]:
        for fast_path in fast_paths_of(last):
            start = _composed(chain, fast_path.start)
            yield FastPath(fast_path.how, start, fast_path.outputs, fast_path.by_row and is_fast)
        shared = {
            name: getattr(last, function.__name__)
            for name, function in output_functions(pipeline).items()
            if name != "transform" and hasattr(last, function.__name__)
        }
        if before and shared:
            outputs = on_own_values(shared, last)
            yield FastPath(_STEPS_ONCE, slow, outputs, is_own_code=True)


def _composed(chain: Step, start: Any) -> Any:
    def composed(data: Any) -> Any:
        data = chain(data)
        return None if data is None else start(data)

    return composed


def _one_pass_paths(estimator: Any) -> Iterator[FastPath]:
    """Give fast paths of classifiers whose label is the largest of what one method gives."""
    if is_own(estimator, "predict", _BaseNB) and is_own(estimator, "predict_proba", _BaseNB):
        yield FastPath(ONE_PASS, estimator.predict_joint_log_proba, _bayes_outputs(estimator))
    elif is_own(estimator, "predict", *_BY_PROBABILITY) and hasattr(estimator, "predict_proba"):
        if getattr(estimator, "n_outputs_", 1) > 1:
            return
        classes = estimator.classes_
        outputs = {
            "label": lambda found: classes.take(np.argmax(found, axis=1), axis=0),
            "probabilities": lambda found: found,
        }
        yield FastPath(ONE_PASS, estimator.predict_proba, outputs)


_BY_PROBABILITY = (
    BaggingClassifier,
    CalibratedClassifierCV,
    DecisionTreeClassifier,
    ForestClassifier,
    VotingClassifier,
)


def _bayes_outputs(estimator: Any) -> dict[str, Any]:
    classes = estimator.classes_

    def logs(joint: Any) -> Any:
        return joint - np.atleast_2d(logsumexp(joint, axis=1)).T

    return {
        "label": lambda joint: classes[np.argmax(joint, axis=1)],
        "probabilities": lambda joint: np.exp(logs(joint)),
        "log_probabilities": logs,
    }


_FAMILIES = (forest_paths, boosting_paths, histogram_paths, linear_paths, _one_pass_paths)
