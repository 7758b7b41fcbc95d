"""Input forms: what an estimator may be handed, a matrix, a frame, texts, and which are tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pushserve_runtime.signature import Accepts, Feature, InputForm, Layout
from pushserve_sandbox.inspection.estimator_structure import (
    inner_estimators,
    is_identity,
    members_of,
    steps_of,
    takes_dicts,
    takes_texts,
    texts_follow,
)
from pushserve_sandbox.inspection.fitted_columns import takes_categories
from pushserve_sandbox.prediction.model_inputs import (
    InputFunction,
    dicts_input,
    frame_input,
    matrix_input,
    object_matrix_input,
    series_input,
    text_input,
)


@dataclass(frozen=True, slots=True)
class Handed:
    """What an estimator is handed: a matrix, or a table in some form, with these features."""

    layout: Layout
    form: InputForm
    features: tuple[Feature, ...]


def input_function(
    estimator: Any, layout: Layout, features: Sequence[Feature], form: InputForm
) -> InputFunction:
    """Choose how a request's arrays become what the estimator takes."""
    if layout is Layout.MATRIX:
        return matrix_input
    if form is InputForm.DERIVED:
        form = _derived(estimator)
    if form is InputForm.FRAME:
        return frame_input(features, takes_categories(estimator))
    if form is InputForm.SERIES:
        return series_input(features)
    if form is InputForm.DICTS:
        return dicts_input(features)
    return text_input if form is InputForm.TEXTS else object_matrix_input(features)


def _derived(estimator: Any) -> InputForm:
    if takes_texts(estimator):
        return InputForm.TEXTS
    return InputForm.FRAME if is_fitted_on_names(estimator) else InputForm.OBJECTS


def is_fitted_on_names(estimator: Any) -> bool:
    """Whether it was fitted on a frame, by what scikit-learn's convention says."""
    return getattr(estimator, "feature_names_in_", None) is not None


def is_fitted_on_array(estimator: Any) -> bool:
    """Whether it was fitted on an array, by what scikit-learn's convention says."""
    return hasattr(estimator, "n_features_in_") and not is_fitted_on_names(estimator)


def handed_frames(estimator: Any) -> bool:
    """Whether some step of it was fitted on names: people's own code before it gave frames."""
    if is_fitted_on_names(estimator):
        return True
    return any(handed_frames(item) for item in parts_of(estimator))


def parts_of(estimator: Any) -> list[Any]:
    """Give the estimators that it is made of, of which some see what others made."""
    parts = steps_of(estimator) or members_of(estimator) or inner_estimators(estimator)
    return [item for item in parts if not is_identity(item)]


def table_forms(estimator: Any, features: tuple[Feature, ...], *, named: bool) -> Iterator[Handed]:
    """Give the forms that are not a matrix, the likeliest first.

    `named` tells that the features have names, be they the model's, the manifest's or those of
    the examples.
    """
    one_text = len(features) == 1
    forms = [InputForm.OBJECTS]
    if takes_dicts(estimator):
        forms = [InputForm.DICTS]
    elif takes_texts(estimator):
        forms = [InputForm.TEXTS, InputForm.SERIES]
    elif is_fitted_on_names(estimator):
        forms = [InputForm.FRAME]
    elif one_text and texts_follow(estimator):
        forms = [InputForm.SERIES, InputForm.TEXTS, InputForm.FRAME]
    elif handed_frames(estimator) and not is_fitted_on_array(estimator):
        forms = [InputForm.FRAME, InputForm.OBJECTS]
    elif named:
        forms = [InputForm.OBJECTS, InputForm.FRAME]
    for form in forms:
        yield Handed(Layout.TABLE, form, features)


def matrix_form(features: tuple[Feature, ...]) -> Handed | None:
    """Give the form of a matrix of numbers; None where a feature is known to be another thing."""
    if not all(feature.dtype.is_number for feature in features):
        return None
    as_numbers = tuple(
        replace(feature, accepts=Accepts.NUMBERS)
        if feature.accepts is Accepts.ANYTHING
        else feature
        for feature in features
    )
    return Handed(Layout.MATRIX, InputForm.DERIVED, as_numbers)


def is_own_code_first(features: Sequence[Feature]) -> bool:
    """Whether code that is no library's sees a column: it may tell a frame from a matrix."""
    return any(feature.is_open for feature in features)
