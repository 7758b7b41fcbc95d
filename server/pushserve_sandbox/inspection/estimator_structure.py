"""Structure of an estimator: which others, inside of it, see the rows that it is given.

It is read from what fitting left (steps, branches, lists of fitted estimators), so that it holds
for every meta-estimator, people's own too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from pushserve_sandbox.compat import tags_of

_LIBRARIES: Final = frozenset({"sklearn", "imblearn", "xgboost", "lightgbm"})
_NO_ESTIMATORS: Final = frozenset({"numpy", "pandas", "scipy", "builtins"})
_MOST: Final = 100
_DEEPEST: Final = 20
_METHODS: Final = ("predict", "transform", "predict_proba", "decision_function", "score_samples")
_OTHER_ROWS: Final = frozenset(
    {
        "final_estimator_",  # sees what others predicted
        "calibrators",
        "cv_results_",
        "_bin_mapper",
        "_label_encoder",
        "le_",
        "label_binarizer_",
        "_label_binarizer",
        "label_encoder_",
    }
)
"""Attributes whose estimators see targets, scores or what others made of the rows."""


def is_library(estimator: Any) -> bool:
    """Whether it is of a package that checks what it is given, and runs no function of others'."""
    if not _is_of(estimator, _LIBRARIES):
        return False
    function = getattr(estimator, "func", None)
    while isinstance(function, partial):
        function = function.func
    known = function is None or isinstance(function, np.ufunc)
    return known or _is_of(function, _NO_ESTIMATORS | _LIBRARIES)


def _is_of(item: Any, packages: frozenset[str]) -> bool:
    module = getattr(item, "__module__", None) or type(item).__module__
    return str(module).partition(".")[0] in packages


def is_identity(step: Any) -> bool:
    """Whether a step gives what it is given."""
    if step is None or step == "passthrough":
        return True
    return type(step).__name__ == "FunctionTransformer" and getattr(step, "func", 0) is None


def steps_of(estimator: Any) -> list[Any] | None:
    """Give the steps that a row goes through, one behind the other; None where it has none."""
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list) or not all(_is_named(item) for item in steps):
        return None
    found = [item[1] for item in steps]
    # What resamples (imbalanced-learn) is left out when predicting.
    return [s for s in found[:-1] if is_identity(s) or hasattr(s, "transform")] + found[-1:]


def _is_named(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) > 1 and isinstance(item[0], str)


def members_of(estimator: Any) -> list[Any] | None:
    """Give the transformers that all see the same rows; None where it is no such union."""
    members = getattr(estimator, "transformer_list", None)
    if not isinstance(members, list) or not all(_is_named(item) for item in members):
        return None
    return [item[1] for item in members if item[1] != "drop"]


def branches_of(estimator: Any) -> list[tuple[str, Any, list[int]]] | None:
    """Give name, transformer and columns (by number) of a ColumnTransformer's branches."""
    indices = getattr(estimator, "_transformer_to_input_indices", None)
    named = getattr(estimator, "named_transformers_", None)
    if indices is None or named is None:
        return None
    return [(name, inner, list(indices.get(name, ()))) for name, inner in named.items()]


def inner_estimators(estimator: Any) -> list[Any]:
    """Give the fitted estimators in a meta-estimator, as its attributes have them.

    Of scikit-learn's own, only what takes an estimator is one: others hold estimators that see
    something else (trees, an encoder of leaves).
    """
    preprocessor = getattr(estimator, "_preprocessor", None)  # HistGradientBoosting's encoder
    if preprocessor is not None:
        return [preprocessor]
    if _is_of(estimator, _LIBRARIES) and not _is_meta(estimator):
        return []
    attributes = getattr(estimator, "__dict__", {})
    results: dict[int, Any] = {}
    others: dict[int, Any] = {}
    for name, value in attributes.items():
        if name in _OTHER_ROWS or (name == "transformer_" and "regressor_" in attributes):
            continue
        kept = results if name.endswith("_") or name.startswith("_") else others
        kept.update({id(item): item for item in _flat(value, 0) if _sees_rows(item)})
    return list((results or others).values())[:_MOST]


def _is_meta(estimator: Any) -> bool:
    if not hasattr(estimator, "get_params"):
        return True  # scikit-learn's private ones, as a calibrated classifier of several
    values = estimator.get_params(deep=False).values()
    return any(is_estimator(item) for value in values for item in _flat(value, 0))


def _flat(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    elif isinstance(value, np.ndarray) and value.dtype == object:
        value = value.reshape(-1).tolist()
    if isinstance(value, list | tuple) and depth < 4:
        for item in value[:_MOST]:
            yield from _flat(item, depth + 1)
    else:
        yield value


def is_estimator(item: Any) -> bool:
    """Whether it predicts or transforms, and is no class."""
    if isinstance(item, type) or not hasattr(item, "__dict__") or _is_of(item, _NO_ESTIMATORS):
        return False
    return any(hasattr(type(item), name) for name in _METHODS) or hasattr(item, "steps")


def _sees_rows(item: Any) -> bool:
    if not is_estimator(item) or not is_fitted(item):
        return False
    tags = tags_of(item)
    return tags.takes_rows or tags.takes_texts or tags.takes_dicts


def is_fitted(item: Any) -> bool:
    """Whether fitting has left something in it, or (people's own) may not have to."""
    steps = steps_of(item)
    if steps is not None:
        return any(is_fitted(step) for step in steps if not is_identity(step))
    if not _is_of(item, _LIBRARIES):
        return True
    names = list(vars(item))
    return any(name.endswith("_") and not name.startswith("__") for name in names) or any(
        is_estimator(value) and is_fitted(value) for value in vars(item).values()
    )


def first_estimators(estimator: Any, depth: int = 0) -> Iterator[Any]:
    """Give the estimators that see the whole input as it comes in."""
    steps = steps_of(estimator)
    within: Iterable[Any] = ()
    if depth > _DEEPEST:
        pass
    elif steps is not None:
        within = [step for step in steps if not is_identity(step)][:1]
    elif members_of(estimator) is not None:
        within = [item for item in members_of(estimator) or () if not is_identity(item)]
    elif branches_of(estimator) is None:
        within = inner_estimators(estimator)
    empty = True
    for item in within:
        empty = False
        yield from first_estimators(item, depth + 1)
    if empty:
        yield estimator


def takes_texts(estimator: Any) -> bool:
    """Whether it takes a sequence of texts instead of rows (a vectorizer sees them first)."""
    return _all_take(estimator, "takes_texts")


def takes_dicts(estimator: Any) -> bool:
    """Whether it takes a sequence of dicts instead of rows (a DictVectorizer sees them first)."""
    return _all_take(estimator, "takes_dicts")


def _all_take(estimator: Any, what: str) -> bool:
    """Whether some of the first estimators take that, and what does not is people's own."""
    first = list(first_estimators(estimator))
    taking = [bool(getattr(tags_of(item), what)) for item in first]
    return any(taking) and all(
        takes or not is_library(item) for item, takes in zip(first, taking, strict=True)
    )


def texts_follow(estimator: Any) -> bool:
    """Whether a step of people's own is followed by one that takes texts."""
    for _ in range(_DEEPEST):
        inner = inner_estimators(estimator) if steps_of(estimator) is None else []
        if not inner:
            break
        estimator = inner[0]
    steps = [step for step in steps_of(estimator) or () if not is_identity(step)]
    while steps and not is_library(steps[0]):
        steps.pop(0)
        if steps and takes_texts(steps[0]):
            return True
    return False
