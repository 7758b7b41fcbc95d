"""Model outputs: what an estimator can give, each as one function from its input to an array.

This is the seam for faster ways: whoever knows one for an estimator (walking a forest's
trees, one pass for label and probabilities) puts another function in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import OutputSpec
from pushserve_sandbox.compat import tags_of

OutputFunction = Callable[[Any], Any]
"""Takes what the estimator takes; gives [rows] or [rows, columns], dense or sparse."""

CLASSES_LIMIT: Final = 10_000

_METHODS: Final = {
    "probabilities": "predict_proba",
    "log_probabilities": "predict_log_proba",
    "decision_function": "decision_function",
    "score_samples": "score_samples",
    "transform": "transform",
    "apply": "apply",
}


def output_functions(estimator: Any) -> dict[str, OutputFunction]:
    """Name every output that the estimator has a method for, the main one first."""
    functions: dict[str, OutputFunction] = {}
    if hasattr(estimator, "predict"):
        functions["label" if _gives_labels(estimator) else "value"] = estimator.predict
    elif hasattr(estimator, "transform"):
        functions["transform"] = estimator.transform
    for name, method in _METHODS.items():
        if name not in functions and hasattr(estimator, method):
            functions[name] = getattr(estimator, method)
    return functions


def default_outputs(outputs: Sequence[OutputSpec]) -> tuple[str, ...]:
    """Choose what is given when nobody asks: the main output, and probabilities with one label."""
    main = outputs[0]
    names = [spec.name for spec in outputs]
    if main.name == "label" and not main.columns and "probabilities" in names:
        return ("label", "probabilities")
    return (main.name,)


def _gives_labels(estimator: Any) -> bool:
    kind = tags_of(estimator).estimator_type
    if kind in ("classifier", "clusterer", "outlier_detector"):
        return True
    return kind != "regressor" and (
        hasattr(estimator, "predict_proba") or hasattr(estimator, "classes_")
    )


def output_spec(name: str, array: Array, estimator: Any) -> OutputSpec:
    """Describe an output by what a trial gave."""
    columns = array.values.shape[1] if array.values.ndim == 2 else 0
    names = tuple(_column_names(name, estimator)) if columns else ()
    return OutputSpec(name, array.dtype, columns, names if len(names) == columns else ())


def _column_names(name: str, estimator: Any) -> Iterator[str]:
    try:
        if name in ("probabilities", "log_probabilities", "decision_function"):
            classes = getattr(estimator, "classes_", None)
            # One against one has a column for each pair of classes: three for three.
            pairs = getattr(_last_step(estimator), "decision_function_shape", "ovr") == "ovo"
            is_pairs = name == "decision_function" and pairs
            if isinstance(classes, np.ndarray) and classes.ndim == 1 and not is_pairs:
                yield from (str(item) for item in classes.tolist()[:CLASSES_LIMIT])
            elif isinstance(classes, list) and name != "decision_function":  # several targets
                for number, own in enumerate(classes):
                    yield from (f"y{number}={item}" for item in np.asarray(own).tolist())
        elif name == "transform":
            yield from (str(item) for item in estimator.get_feature_names_out()[:CLASSES_LIMIT])
    except (AttributeError, ValueError, TypeError, NotImplementedError):
        return  # names are a courtesy; not every transformer knows them


def _last_step(estimator: Any) -> Any:
    estimator = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if isinstance(steps, list) and steps else estimator


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of a trial away: how rows are made here is not the author's doing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np_state = np.seterr(all="ignore")
        try:
            yield
        finally:
            np.seterr(**np_state)
