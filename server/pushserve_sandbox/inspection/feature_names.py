"""Feature names: how an estimator's inputs are called, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.counted_columns import count_told
from pushserve_sandbox.inspection.estimator_structure import takes_dicts, takes_texts, texts_follow
from pushserve_sandbox.inspection.fitted_columns import know_columns
from pushserve_sandbox.inspection.input_forms import is_fitted_on_names, parts_of


def known_features(estimator: Any, names: Sequence[str]) -> list[Known]:
    """Say what is known of each feature; what goes on to a vectorizer is text."""
    if takes_texts(estimator) or texts_follow(estimator):
        first = know_columns(estimator, 1, names)
        return [replace(item, dtype=DType.STRING, sure=True) for item in first]
    return know_columns(estimator, len(names), names)


@dataclass(frozen=True, slots=True)
class Names:
    """What the features are called. `real` are names of the data, not x0, x1, ….

    `guessed` are those that a part of the estimator was fitted on: some may be its own making.
    That part makes no use of those that are `unused`.
    """

    names: list[str]
    real: bool = True
    guessed: bool = False
    unused: frozenset[str] = frozenset()


def feature_names(estimator: Any, declared: Declared, example_rows: Sequence[Any]) -> Names:
    """Name the estimator's features.

    Raises:
        NamesUnknown: neither it nor the manifest nor the examples tell.
    """
    if is_fitted_on_names(estimator):
        return Names([str(name) for name in estimator.feature_names_in_])
    if takes_texts(estimator) or (texts_follow(estimator) and len(declared.inputs) < 2):
        return Names([declared.inputs[0].name if len(declared.inputs) == 1 else "text"])
    count = count_told(estimator) or len(declared.inputs)
    if len(declared.inputs) == count and count:
        return Names([feature.name for feature in declared.inputs])
    if count:
        return numbered(count)
    return _shown_or_inside(estimator, example_rows)


def numbered(count: int) -> Names:
    """Name the columns of an array."""
    return Names([f"x{i}" for i in range(count)], real=False)


def _shown_or_inside(estimator: Any, example_rows: Sequence[Any]) -> Names:
    if takes_dicts(estimator):
        return Names([])
    if example_rows and isinstance(example_rows[0], Mapping):
        return Names([str(name) for name in example_rows[0]])
    if example_rows and isinstance(example_rows[0], list) and not fitted_on_names_inside(estimator):
        return numbered(len(example_rows[0]))
    inner = fitted_on_names_inside(estimator)
    if inner is None:
        raise names_unknown()
    names = [str(name) for name in inner.feature_names_in_]
    known = known_features(inner, names)
    unused = frozenset(name for name, item in zip(names, known, strict=True) if not item.used)
    return Names(names, guessed=True, unused=unused)


class NamesUnknown(BuildFailed):
    """Nobody tells the features' names."""


def names_unknown() -> NamesUnknown:
    """Say that nobody tells the features' names."""
    return NamesUnknown(
        "SIGNATURE_UNKNOWN",
        "the model does not say which columns it takes",
        'commit examples.json with a row: [{"input": {"column": value, …}}], or [{"input": '
        "[value, …]}] if it was fitted on an array; or declare the columns in pushserve.toml: "
        "[signature] inputs = [{name = …}, …]",
    )


def fitted_on_names_inside(estimator: Any) -> Any:
    """Give the first part of it that was fitted on names, or it; None where there is none."""
    if is_fitted_on_names(estimator):
        return estimator
    for item in parts_of(estimator):
        found = fitted_on_names_inside(item)
        if found is not None:
            return found
    return None
