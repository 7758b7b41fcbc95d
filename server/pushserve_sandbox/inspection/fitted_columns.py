"""Fitted columns: what an estimator's encoders know about the columns they were fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pushserve_sandbox.inspection.booster_columns import remembered_columns
from pushserve_sandbox.inspection.column_knowledge import Known, both, is_bare, own_columns, then
from pushserve_sandbox.inspection.estimator_structure import (
    branches_of,
    first_estimators,
    inner_estimators,
    is_identity,
    is_library,
    members_of,
    steps_of,
)
from pushserve_sandbox.inspection.passed_columns import Columns, passed_columns

_UNSEEN: Final = Known(used=False)


def know_columns(
    estimator: Any, count: int, names: Sequence[str] = (), *, numbers: bool = False
) -> list[Known]:
    """Say what is known of each of `count` columns, in order, called `names` where they have any.

    `numbers` tells that what nothing is known of is a number (whoever asks has a graph, or needs
    no more than values to try).
    """
    found = _Visit(names).look(estimator, list(range(count)), "")
    return [found.get(i, Known(numbers=numbers)) for i in range(count)]


def takes_categories(estimator: Any) -> list[bool]:
    """Say of each column whether it has to have pandas' type for categories; [] if none has."""
    for first in first_estimators(estimator):
        found = [bool(items) for _, items in remembered_columns(first)]
        if any(found):
            return found
    return []


class _Visit:
    """A walk through an estimator that follows its columns; `names` are the input's."""

    def __init__(self, names: Sequence[str]) -> None:
        self._numbers = {name: i for i, name in enumerate(names)}

    def look(self, estimator: Any, columns: Columns, branch: str) -> dict[int, Known]:
        """Say what an estimator knows that takes just these columns."""
        if is_identity(estimator):
            return _bare(columns, branch)
        if isinstance(estimator, str):
            return {}
        found = self._parts(estimator, columns, branch)
        if is_library(estimator):
            return found
        nothing = Known(branch=branch, sure=False)
        return {
            column: replace(found.get(column, nothing), sure=False, used=True)
            for column in columns
            if column is not None
        }

    def _parts(self, estimator: Any, columns: Columns, branch: str) -> dict[int, Known]:
        steps = steps_of(estimator)
        if steps is not None:
            return self._steps(steps, columns, branch)
        if branches_of(estimator) is not None:
            return self._branches(estimator, columns, branch)
        members = members_of(estimator)
        if members is not None:
            return self._beside([(item, columns) for item in members], branch)
        own = dict(zip(columns, own_columns(estimator, branch), strict=False))
        inner = [
            (item, taken)
            for i, item in enumerate(inner_estimators(estimator))
            if (taken := self._columns_of(item, estimator, i, columns)) is not None
        ]
        found = self._beside(inner, branch)
        if hasattr(estimator, "final_estimator_") and getattr(estimator, "passthrough", False):
            _merge(found, _bare(columns, branch, numbers=is_library(estimator)), both)
        for column in columns:
            if column is not None and (column not in found or is_bare(found[column])):
                found[column] = own.get(column, _seen_by(estimator, branch))
        return found

    def _columns_of(self, item: Any, outer: Any, number: int, columns: Columns) -> Columns | None:
        """Which columns of a meta-estimator's the `number`-th estimator in it takes."""
        drawn = getattr(outer, "estimators_features_", None)  # bagging's
        if drawn is not None and number < len(drawn):
            return [columns[i] for i in drawn[number]]
        width = getattr(item, "n_features_in_", None)
        return columns if width in (None, len(columns)) else self._named(item)

    def _named(self, item: Any) -> Columns | None:
        """Find an estimator's columns by name among the input's."""
        names = getattr(item, "feature_names_in_", None)
        if names is None:
            return None
        return [self._numbers.get(str(name)) for name in names]

    def _beside(self, items: Sequence[tuple[Any, Columns]], branch: str) -> dict[int, Known]:
        """Put together what estimators know that see the same rows."""
        found: dict[int, Known] = {}
        for item, columns in items:
            _merge(found, self.look(item, columns, branch), both)
        return found

    def _steps(self, steps: list[Any], columns: Columns, branch: str) -> dict[int, Known]:
        found: dict[int, Known] = {}
        sure = True
        for number, step in enumerate(steps):
            here = self.look(step, columns, branch)
            if not sure:
                here = {c: replace(item, sure=False, used=True) for c, item in here.items()}
            _merge(found, here, then)
            if number + 1 < len(steps):
                sure = sure and (is_identity(step) or is_library(step))
                after = passed_columns(step, columns)
                if after is None and not is_library(step):
                    after = self._after_own(steps[number + 1], columns)
                if after is None:
                    break
                columns = after
        return found

    def _after_own(self, step: Any, columns: Columns) -> Columns | None:
        """Guess what the step behind people's own code sees, for values to try."""
        first = next(first_estimators(step))
        named = self._named(first)
        if named is not None and any(column is not None for column in named):
            return named
        return columns if getattr(first, "n_features_in_", None) == len(columns) else None

    def _branches(self, estimator: Any, columns: Columns, branch: str) -> dict[int, Known]:
        found = {column: _UNSEEN for column in columns if column is not None}
        for name, inner, indices in branches_of(estimator) or ():
            if isinstance(inner, str) and not is_identity(inner):
                continue  # dropped
            own = [columns[i] for i in indices if i < len(columns)]
            here = f"{branch}/{name}"
            seen = {column: Known(branch=here) for column in own if column is not None}
            _merge(seen, self.look(inner, own, here), then)
            _merge(found, seen, both)
        return found


def _bare(columns: Columns, branch: str, *, numbers: bool = False) -> dict[int, Known]:
    """Say of columns that they are used, and no more."""
    return {c: Known(branch=branch, numbers=numbers) for c in columns if c is not None}


def _seen_by(estimator: Any, branch: str) -> Known:
    """Say what is known of a column that an estimator takes and keeps nothing of."""
    if is_library(estimator) and type(estimator).__name__.startswith("Dummy"):
        return _UNSEEN
    return Known(branch=branch, numbers=is_library(estimator))


def _merge(
    found: dict[int, Known], more: dict[int, Known], join: Callable[[Known, Known], Known]
) -> None:
    for column, item in more.items():
        found[column] = join(found[column], item) if column in found else item
