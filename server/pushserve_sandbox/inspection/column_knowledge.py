"""Column knowledge: what one estimator knows of a column, and how two of them are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pushserve_runtime.signature import DType
from pushserve_sandbox.compat import tags_of
from pushserve_sandbox.inspection.booster_columns import remembered_columns

CATEGORIES_LIMIT: Final = 1_000
_EXAMPLES: Final = 3
_KEPT: Final = ("_fit_X", "X_fit_", "cluster_centers_", "theta_", "support_vectors_")
"""Attributes that hold rows: those of fitting, or means of some."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one column.

    `dtype` is of the values that it was fitted on; `numbers` tells that what sees it first makes
    float64 of it. Neither is `sure` behind code that is no library's: then it is a hint for rows
    to try. `examples` are values that it was fitted on. `categories` are the only ones allowed.
    `branch` is the same for columns that take the same way through the estimator. `used` is False
    where nothing of the estimator sees the column. `none` tells that it was fitted on None.
    """

    dtype: DType | None = None
    examples: tuple[str | int | float | bool, ...] = ()
    categories: tuple[str | int | float, ...] = ()
    branch: str = ""
    numbers: bool = False
    sure: bool = True
    used: bool = True
    none: bool = False
    dates: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the type is not known."""
        return not self.sure or (self.dtype is None and not self.numbers)


def is_bare(known: Known) -> bool:
    """Whether the column was only handed on so far."""
    return known.used and known.sure and known.dtype is None and not known.numbers


def then(first: Known, then: Known) -> Known:
    """Put together what two steps know, one behind the other."""
    return Known(
        first.dtype or then.dtype,
        first.examples or then.examples,
        first.categories or then.categories,
        then.branch if len(then.branch) > len(first.branch) else first.branch,
        numbers=first.numbers or then.numbers,
        sure=first.sure and then.sure,
        used=then.used if is_bare(first) else first.used,
        none=first.none or then.none,
        dates=first.dates or then.dates,
    )


def both(first: Known, other: Known) -> Known:
    """Put together what two estimators know that both see the column."""
    if not first.used or not other.used:
        return other if other.used else first
    dtype, sure = _common(first, other), first.sure and other.sure
    allowed = first.categories or other.categories
    if first.categories and other.categories:
        allowed = tuple(item for item in first.categories if item in other.categories)
    return Known(
        dtype or (first.dtype or other.dtype if not sure else None),
        (first.examples + other.examples)[: 2 * _EXAMPLES],
        allowed,
        first.branch + "+" + other.branch if first.branch != other.branch else first.branch,
        numbers=(first.numbers or other.numbers) and dtype is not DType.STRING,
        sure=sure and not _contradict(first, other),
        none=first.none or other.none,
        dates=first.dates or other.dates,
    )


def _common(first: Known, other: Known) -> DType | None:
    kinds = {item.dtype for item in (first, other) if item.dtype is not None}
    if len(kinds) == 1:
        return kinds.pop()
    return DType.FLOAT64 if kinds == {DType.INT64, DType.FLOAT64} else None


def _contradict(first: Known, other: Known) -> bool:
    """Whether one says text, or another type, and the other does not, so that both mean less."""
    kinds = {first.dtype, other.dtype} - {None}
    return _common(first, other) is None and bool(kinds)


def own_columns(estimator: Any, branch: str) -> list[Known]:
    """What the estimator itself knows of each of its columns."""
    categories = getattr(estimator, "categories_", None)
    if isinstance(categories, list):
        strict = getattr(estimator, "handle_unknown", "ignore") == "error"
        return [_of_categories(values, strict, branch) for values in categories]
    statistics = getattr(estimator, "statistics_", None)
    found = _of_statistics(estimator, getattr(estimator, "mean_", statistics), branch)
    if found:
        return found
    rows = _rows_of_numbers(estimator)
    if rows is not None:
        return [
            Known(None, tuple(column), branch=branch, numbers=True) for column in rows.T.tolist()
        ]
    remembered = remembered_columns(estimator)
    if remembered:
        return [Known(dtype, items[:3], items, branch, numbers=True) for dtype, items in remembered]
    if tags_of(estimator).takes_texts:
        words = sorted(getattr(estimator, "vocabulary_", None) or ["text"])
        return [Known(DType.STRING, tuple(str(word) for word in words[:3]), branch=branch)]
    return []


def _rows_of_numbers(estimator: Any) -> Any:
    """Give `_EXAMPLES` rows that are like those that it was fitted on, where it keeps some."""
    low, high = (getattr(estimator, name, None) for name in ("data_min_", "data_max_"))
    if isinstance(low, np.ndarray) and isinstance(high, np.ndarray):
        return _finite(np.linspace(0.4 * low + 0.6 * high, 0.8 * low + 0.2 * high, _EXAMPLES))
    for name in _KEPT:
        kept = getattr(estimator, name, None)
        if isinstance(kept, np.ndarray) and kept.ndim == 2 and kept.dtype.kind == "f" and len(kept):
            return _finite(kept[np.linspace(0, len(kept) - 1, _EXAMPLES).astype(int)])
    return None


def _finite(rows: Any) -> Any:
    return rows.astype(float) if np.isfinite(rows).all() else None


def _of_statistics(estimator: Any, values: Any, branch: str) -> list[Known]:
    """What a mean or an imputer's filler says of each column."""
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        return []
    none = getattr(estimator, "missing_values", 0) is None
    known = [replace(_of_values([value], branch), none=none) for value in values.tolist()]
    if values.dtype.kind in "fi":
        return [replace(item, dtype=None, numbers=True) for item in known]
    if getattr(estimator, "strategy", "") == "constant":  # a filler, and no value of the column
        return [Known(branch=branch, none=none) for _ in known]
    return known if values.dtype.kind in "OUSb" else []


def _of_categories(values: Any, strict: bool, branch: str) -> Known:
    found = np.asarray(values)
    if found.dtype.kind == "M":
        days = tuple(str(item) for item in found[~np.isnat(found)][:_EXAMPLES])
        return Known(DType.STRING, days, branch=branch, dates=True)
    items = found.tolist()
    known = _of_values(items, branch)
    kept = [item for item in items if item is not None and item == item]  # noqa: PLR0124
    allowed = tuple(kept) if strict and len(kept) <= CATEGORIES_LIMIT else ()
    return replace(known, categories=allowed, none=any(item is None for item in items))


def _of_values(items: list[Any], branch: str) -> Known:
    items = [item for item in items if item == item and item is not None]  # noqa: PLR0124
    return Known(dtype_of(items), tuple(items[:_EXAMPLES]), (), branch)


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
