"""Counted columns: how many columns an estimator takes that does not say so itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pushserve_sandbox.inspection.estimator_structure import first_estimators, is_library
from pushserve_sandbox.inspection.input_forms import is_fitted_on_names, parts_of

_FEW: Final = 6
_AROUND: Final = 2
"""Code of people's own adds and drops a few columns."""


def count_told(estimator: Any) -> int | None:
    """Say how many columns an estimator was fitted on; None where nothing of it tells.

    A pipeline says what its first step does: nothing, where that hands on what it is given. The
    next one then tells, unless it knows them by name.
    """
    count = _own_count(estimator)
    if count:
        return count
    first = list(first_estimators(estimator))
    if any(is_fitted_on_names(item) or not is_library(item) for item in first):
        return None
    counts = {_own_count(item) for item in first}
    return counts.pop() if len(counts) == 1 else None


def counts_to_try(estimator: Any) -> Iterator[int]:
    """Give numbers of columns, the likeliest first, for what is made of others' code and its own.

    The likeliest is what the first part was fitted on that says so; else it may be a few.
    """
    count = _count_inside(estimator)
    if count is None:
        yield from range(1, _FEW + 1)
        return
    yield count
    yield from range(count - 1, max(count - _AROUND - 1, 0), -1)
    yield from range(count + 1, count + _AROUND + 1)


def _own_count(estimator: Any) -> int | None:
    count = getattr(estimator, "n_features_in_", None)
    return int(count) if count else None


def _count_inside(estimator: Any) -> int | None:
    count = _own_count(estimator)
    if count:
        return count
    return next(filter(None, map(_count_inside, parts_of(estimator))), None)
