"""Fitted columns: what an estimator's encoders know about the columns they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from pushserve_runtime.signature import DType
from pushserve_sandbox.compat import tags_of
from pushserve_sandbox.inspection.booster_columns import remembered_columns

CATEGORIES_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one column.

    `examples` are values that it was fitted on. `categories` are the only ones allowed.
    `branch` is the same for columns that take the same way through the estimator.
    """

    dtype: DType | None = None
    examples: tuple[str | int | float | bool, ...] = ()
    categories: tuple[str | int | float, ...] = ()
    branch: str = ""


def know_columns(estimator: Any, count: int) -> list[Known]:
    """Say what is known of each of `count` columns, in order."""
    known = [Known()] * count
    for index, item in _visit(estimator, list(range(count)), "").items():
        known[index] = item
    return known


def first_step(estimator: Any) -> Any:
    """Find the estimator that sees the input first, through pipelines and searches."""
    for _ in range(20):
        if isinstance(estimator, Pipeline):
            steps = [s for _, s in estimator.steps if s is not None and s != "passthrough"]
            if not steps:
                return estimator
            estimator = steps[0]
        elif isinstance(estimator, FeatureUnion) and estimator.transformer_list:
            estimator = estimator.transformer_list[0][1]
        else:
            inner = getattr(estimator, "best_estimator_", None)
            if inner is None:
                return estimator
            estimator = inner
    return estimator


def takes_texts(estimator: Any) -> bool:
    """Whether it takes a sequence of texts instead of rows (a vectorizer comes first)."""
    return tags_of(first_step(estimator)).takes_texts


def takes_categories(estimator: Any) -> list[bool]:
    """Say of each column whether it has to have pandas' type for categories; [] if none has."""
    found = [bool(items) for _, items in remembered_columns(first_step(estimator))]
    return found if any(found) else []


def _visit(estimator: Any, columns: list[int], branch: str) -> dict[int, Known]:
    """Follow `columns` (indices of the input) into an estimator that takes just these."""
    if isinstance(estimator, Pipeline):
        return _visit_steps([step for _, step in estimator.steps], columns, branch)
    if isinstance(estimator, ColumnTransformer):
        return _visit_branches(estimator, columns, branch)
    inner = getattr(estimator, "best_estimator_", None) or getattr(
        estimator,
        "_preprocessor",
        None,  # HistGradientBoosting's own encoder
    )
    if inner is not None:
        return _visit(inner, columns, branch)
    return dict(zip(columns, _own(estimator, branch), strict=False))


def _visit_steps(steps: list[Any], columns: list[int], branch: str) -> dict[int, Known]:
    found = {column: Known(branch=branch) for column in columns}
    for step in steps:
        if step is None or isinstance(step, str):
            continue
        for column, item in _visit(step, columns, branch).items():
            found[column] = _merged(found[column], item)
        if not _keeps_columns(step, len(columns)):
            break
    return found


def _visit_branches(transformer: Any, columns: list[int], branch: str) -> dict[int, Known]:
    found = {}
    indices: Mapping[str, Sequence[int]] = getattr(transformer, "_transformer_to_input_indices", {})
    for name, inner in transformer.named_transformers_.items():
        own = [columns[i] for i in indices.get(name, ()) if i < len(columns)]
        here = f"{branch}/{name}"
        if inner is None or isinstance(inner, str):
            found.update({column: Known(branch=here) for column in own})
        else:
            found.update({column: Known(branch=here) for column in own})
            found.update(_visit(inner, own, here))
    return found


def _merged(first: Known, then: Known) -> Known:
    return Known(
        first.dtype or then.dtype,
        first.examples or then.examples,
        first.categories or then.categories,
        then.branch if len(then.branch) > len(first.branch) else first.branch,
    )


def _keeps_columns(step: Any, count: int) -> bool:
    """Whether a step gives one column for each that it takes, in order."""
    if getattr(step, "indicator_", None) is not None:
        return False
    statistics = getattr(step, "statistics_", None)  # an imputer drops columns without any value
    if statistics is not None:
        empty = [item for item in np.ravel(statistics).tolist() if item != item]  # noqa: PLR0124
        return not empty
    scales = hasattr(step, "scale_") or type(step).__name__ == "FunctionTransformer"
    return scales and getattr(step, "n_features_in_", count) == count


def _own(estimator: Any, branch: str) -> list[Known]:
    """What the estimator itself knows of each of its columns."""
    categories = getattr(estimator, "categories_", None)
    if isinstance(categories, list):
        strict = getattr(estimator, "handle_unknown", "ignore") == "error"
        return [_of_categories(values, strict, branch) for values in categories]
    statistics = getattr(estimator, "statistics_", None)
    if isinstance(statistics, np.ndarray) and statistics.dtype.kind in "OU":
        return [_of_values([value], branch) for value in statistics.tolist()]
    means = getattr(estimator, "mean_", statistics)
    if isinstance(means, np.ndarray) and means.ndim == 1 and means.dtype.kind == "f":
        return [_of_values([value], branch, sure=False) for value in means.tolist()]
    remembered = remembered_columns(estimator)
    if remembered:
        return [Known(dtype, items[:3], items, branch) for dtype, items in remembered]
    if takes_texts(estimator):
        words = sorted(getattr(estimator, "vocabulary_", None) or ["text"])
        return [Known(DType.STRING, tuple(str(word) for word in words[:3]), branch=branch)]
    return []


def _of_categories(values: Any, strict: bool, branch: str) -> Known:
    items = [item for item in np.asarray(values).tolist() if item is not None and item == item]  # noqa: PLR0124
    known = _of_values(items, branch)
    allowed = tuple(items) if strict and len(items) <= CATEGORIES_LIMIT else ()
    return Known(known.dtype, known.examples, allowed, branch)


def _of_values(items: list[Any], branch: str, *, sure: bool = True) -> Known:
    items = [item for item in items if item == item and item is not None]  # noqa: PLR0124
    return Known(dtype_of(items) if sure else None, tuple(items[:3]), (), branch)


def dtype_of(items: Sequence[Any]) -> DType | None:
    """The type that holds all of these plain values; None where they say nothing or differ."""
    kinds = {type(item) for item in items}
    if not kinds:
        return None
    if kinds <= {bool}:
        return DType.BOOL
    if kinds <= {int}:
        return DType.INT64
    if kinds <= {int, float}:
        return DType.FLOAT64
    return DType.STRING if kinds <= {str} else None
