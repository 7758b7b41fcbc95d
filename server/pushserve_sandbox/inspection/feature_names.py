"""Feature names: how an estimator's inputs are called, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.estimator_structure import takes_dicts, takes_texts, texts_follow
from pushserve_sandbox.inspection.fitted_columns import know_columns
from pushserve_sandbox.inspection.input_forms import is_fitted_on_names


def known_features(estimator: Any, names: Sequence[str]) -> list[Known]:
    """Say what is known of each feature; what goes on to a vectorizer is text."""
    if takes_texts(estimator) or texts_follow(estimator):
        first = know_columns(estimator, 1, names)
        return [replace(item, dtype=DType.STRING, sure=True) for item in first]
    return know_columns(estimator, len(names), names)


def feature_names(
    estimator: Any, declared: Declared, example_rows: Sequence[Any]
) -> tuple[list[str], bool]:
    """Name the estimator's features, and say whether these are more than x0, x1, ….

    Raises:
        BuildFailed: SIGNATURE_UNKNOWN, neither it nor the manifest nor the examples tell.
    """
    if is_fitted_on_names(estimator):
        return [str(name) for name in estimator.feature_names_in_], True
    if takes_texts(estimator) or (texts_follow(estimator) and len(declared.inputs) < 2):
        return [declared.inputs[0].name if len(declared.inputs) == 1 else "text"], True
    shown = example_rows[0] if example_rows else None
    count = getattr(estimator, "n_features_in_", None) or len(declared.inputs)
    if not count and isinstance(shown, Mapping):
        return [str(name) for name in shown], True
    if not count and not takes_dicts(estimator):
        raise BuildFailed(
            "SIGNATURE_UNKNOWN",
            "the model does not say which columns it takes",
            'commit examples.json with a row: [{"input": {"column": value, …}}], or declare the '
            "columns in pushserve.toml: [signature] inputs = [{name = …}, …]",
        )
    if len(declared.inputs) == count:
        return [feature.name for feature in declared.inputs], True
    return [f"x{i}" for i in range(int(count))], False
