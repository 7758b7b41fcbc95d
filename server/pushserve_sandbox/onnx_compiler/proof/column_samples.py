"""Column samples: values of each input column where something may happen to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from pushserve_sandbox.onnx_compiler.proof.inner_estimators import inner_estimators
from pushserve_sandbox.onnx_compiler.proof.text_samples import sentences

_MOST: Final = 64
_LARGE: Final = 1_000_000
_TEXTS: Final = 200
_LARGE_ONES: Final = 40


@dataclass(slots=True)
class Evidence:
    """Values of one column: numbers (means, limits, edges, thresholds, categories) and texts."""

    numbers: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    strict: bool = False
    """Whether an encoder takes no other values."""
    large: list[int] = field(default_factory=list)
    """Whole numbers that no double holds exactly, or that one beside rounds to."""

    def add(self, values: Any) -> None:
        """Note values of any type; too many numbers are thinned out."""
        items = np.asarray(values).reshape(-1)
        if items.dtype.kind in "iu" and len(self.large) < _LARGE_ONES:
            big = items[np.abs(items.astype(np.float64)) >= 2.0**53]
            self.large += big[: _LARGE_ONES - len(self.large)].tolist()
        if items.dtype.kind in "biuf":
            numbers = np.unique(items[np.isfinite(items)].astype(float))
            if len(numbers) > _MOST:
                numbers = numbers[np.linspace(0, len(numbers) - 1, _MOST).astype(int)]
            self.numbers += numbers.tolist()
            return
        for item in items.tolist():
            if isinstance(item, str) and len(self.texts) < _TEXTS:
                self.texts.append(item)
            elif isinstance(item, int | float) and np.isfinite(item):
                self.numbers.append(float(item))


def collect(estimator: Any, columns: int) -> list[Evidence]:
    """Collect the evidence of each of `columns` input columns, in order."""
    found = [Evidence() for _ in range(columns)]
    _visit(estimator, list(range(columns)), found)
    return found


def _visit(estimator: Any, columns: Sequence[int], found: list[Evidence]) -> None:
    """Follow `columns` (numbers of the input's) through an estimator that takes just these."""
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            _visit(step, columns, found)
            if not _keeps_order(step, len(columns)):
                return
    elif isinstance(estimator, ColumnTransformer):
        for name, inner in estimator.named_transformers_.items():
            chosen = branch_columns(estimator, name)
            _visit(inner, [columns[i] for i in chosen if i < len(columns)], found)
    elif isinstance(estimator, FeatureUnion):
        for _, inner in estimator.transformer_list:
            _visit(inner, columns, found)
    elif hasattr(estimator, "best_estimator_"):
        _visit(estimator.best_estimator_, columns, found)
    elif estimator is not None and not isinstance(estimator, str):
        _own(estimator, columns, found)
        _visit_inside(estimator, columns, found)


def _visit_inside(estimator: Any, columns: Sequence[int], found: list[Evidence]) -> None:
    """Go on to the estimators inside that take the same columns."""
    for inner in inner_estimators(estimator):
        if getattr(inner, "n_features_in_", len(columns)) == len(columns):
            _visit(inner, columns, found)


def branch_columns(transformer: Any, name: str) -> list[int]:
    """Which of its input columns a ColumnTransformer gives to a branch."""
    indices = getattr(transformer, "_transformer_to_input_indices", {})
    return [int(i) for i in indices.get(name, ())]


def _keeps_order(step: Any, count: int) -> bool:
    """Whether a step gives as many columns as it takes: then they are taken for the same."""
    if step is None or isinstance(step, str):
        return True
    try:
        return len(step.get_feature_names_out()) == count
    except (AttributeError, ValueError, TypeError, NotImplementedError):
        return hasattr(step, "scale_") or hasattr(step, "statistics_")


def _own(estimator: Any, columns: Sequence[int], found: list[Evidence]) -> None:
    """Whatever fitted array has one column, or one list, for each column is about them."""
    _add_sentences(estimator, columns, found)
    _note_strict(estimator, columns, found)
    scale = getattr(estimator, "scale_", None)
    for name, value in vars(estimator).items():
        if name.startswith("_") or not name.endswith("_"):
            continue
        for column, values in zip(columns, _by_column(value, len(columns)), strict=False):
            found[column].add(values)
    middle = getattr(estimator, "mean_", getattr(estimator, "center_", None))
    if _fits(middle, len(columns)) and _fits(scale, len(columns)):
        spread = np.array([-4, -2, -1, 1, 2, 4])[:, None] * scale + middle
        for column, values in zip(columns, spread.T, strict=True):
            found[column].add(values)
    for name in ("threshold", "fill_value", "missing_values"):
        value = getattr(estimator, name, None)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            for column in columns:
                found[column].add(np.array([value]))


def _note_strict(estimator: Any, columns: Sequence[int], found: list[Evidence]) -> None:
    if getattr(estimator, "handle_unknown", "") == "error" and hasattr(estimator, "categories_"):
        for column in columns:
            found[column].strict = True


def _add_sentences(estimator: Any, columns: Sequence[int], found: list[Evidence]) -> None:
    terms = getattr(estimator, "vocabulary_", None)
    if isinstance(terms, dict):
        for column in columns:
            found[column].texts += sentences(map(str, terms), column)


def _fits(value: Any, count: int) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (count,) and value.dtype.kind == "f"


def _by_column(value: Any, count: int) -> Iterator[NDArray[Any]]:
    if isinstance(value, list) and len(value) == count:
        yield from (item for item in value if isinstance(item, np.ndarray))
    elif isinstance(value, np.ndarray) and value.ndim in (1, 2) and 0 < value.size <= _LARGE:
        if value.dtype.kind == "O" and value.ndim == 1 and len(value) == count:
            yield from (np.asarray(item).reshape(-1) for item in value)
        elif value.shape[-1] == count:
            yield from value.reshape(-1, count).T
