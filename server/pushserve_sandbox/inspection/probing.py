"""Probing: finds out by trial what an estimator accepts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product
from typing import Any, Final

import numpy as np

from pushserve_runtime.signature import Accepts, DType, Feature
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.prediction.model_outputs import quiet

SINGLE_PROBES: Final = 64
ROWS: Final = 3
_MOST_KINDS: Final = 120
"""Ways to fill open columns that are tried."""

Row = list[Any]

_TEXTS: Final = ("text", "other", "A, b. c-1")
_DATES: Final = ("2024-01-31", "2023-12-01", "2024-02-29")
_OPEN_KINDS: Final = ("whole", "float", "text", "date", "datetime")


def made_rows(features: Sequence[Feature], known: Sequence[Known]) -> list[Row]:
    """Make rows from what the estimator knows: its categories and means, else small numbers.

    Values differ from column to column and from row to row, as far as these can.
    """
    pairs = list(zip(features, known, strict=True))
    return [
        [_value(f, k, row, column) for column, (f, k) in enumerate(pairs)] for row in range(ROWS)
    ]


def plain_rows(features: Sequence[Feature], known: Sequence[Known]) -> list[Row]:
    """Make a row of zeros, with categories only where no other value is allowed."""
    return [
        [
            0 if f.dtype.is_number and not k.categories else _value(f, k, 0, column)
            for column, (f, k) in enumerate(zip(features, known, strict=True))
        ]
    ]


def _value(feature: Feature, known: Known, row: int, column: int) -> Any:
    if feature.categories:
        return feature.categories[(row + column) % len(feature.categories)]
    if known.examples and (known.dtype is not None or feature.is_open):
        return known.examples[row % len(known.examples)]
    if feature.as_dates:
        return _DATES[row % len(_DATES)]
    if feature.dtype is DType.STRING:
        return _TEXTS[0]
    if feature.dtype is DType.BOOL:
        return (row + column) % 2 == 1
    step = 1 + (3 * row + 2 * column) % 7
    if len(known.examples) >= ROWS and feature.dtype in (DType.FLOAT64, DType.FLOAT32):
        value = float(known.examples[row % len(known.examples)])
    elif known.examples:
        base = float(known.examples[0])
        value = base + step * max(abs(base), 1.0) / 8
    else:
        value = float(step) if feature.is_open else step - 0.5
    return int(value) if feature.dtype in (DType.INT64, DType.INT32) else value


def open_rows(
    features: Sequence[Feature], known: Sequence[Known]
) -> Iterator[tuple[tuple[Feature, ...], list[Row]]]:
    """Fill the columns whose type is open with numbers, texts and dates; give features and rows.

    Each of them is the same for all first, then all combinations, up to a number of tries.
    """
    open_columns = [i for i, feature in enumerate(features) if feature.is_open]
    if not open_columns:
        return
    base = made_rows(features, known)
    same = [(kind,) * len(open_columns) for kind in _OPEN_KINDS]
    mixed = product(_OPEN_KINDS, repeat=len(open_columns))
    tried = [*same, *(kinds for kinds in islice(mixed, _MOST_KINDS) if len(set(kinds)) > 1)]
    for kinds in tried:
        chosen = dict(zip(open_columns, kinds, strict=True))
        rows = [
            [_of_kind(chosen[i], r, i) if i in chosen else value for i, value in enumerate(row)]
            for r, row in enumerate(base)
        ]
        yield tuple(_as_kind(f, chosen.get(i)) for i, f in enumerate(features)), rows


def _of_kind(kind: str, row: int, column: int) -> Any:
    if kind in ("whole", "float"):
        step = 1 + (3 * row + 2 * column) % 7
        return step if kind == "whole" else step - 0.25
    items = _TEXTS if kind == "text" else _DATES
    return items[row % len(items)]


def _as_kind(feature: Feature, kind: str | None) -> Feature:
    if kind == "datetime":
        return as_datetimes(feature)
    return replace(feature, dtype=DType.STRING) if kind in ("text", "date") else feature


def as_datetimes(feature: Feature) -> Feature:
    """Say that nothing but datetimes is taken there: they are sent as texts."""
    return replace(feature, dtype=DType.STRING, accepts=Accepts.DTYPE, as_dates=True)


def probe_nullable(
    features: Sequence[Feature],
    known: Sequence[Known],
    row: Row,
    accepts: Callable[[Row], bool],
) -> list[bool]:
    """Say for each feature whether a row with a null there is accepted.

    Columns that take the same way through the estimator are tried together first; only
    where that fails, each is tried alone, up to a number that keeps wide models quick.
    """
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, (feature, item) in enumerate(zip(features, known, strict=True)):
        groups.setdefault((item.branch, feature.dtype.is_number), []).append(index)
    nullable = [False] * len(features)
    for group in groups.values():
        if accepts(_with_nulls(row, group)):
            accepted = group
        elif len(group) == 1:
            accepted = []
        else:
            accepted = [i for i in group[:SINGLE_PROBES] if accepts(_with_nulls(row, [i]))]
        for index in accepted:
            nullable[index] = True
    return nullable


def _with_nulls(row: Row, indices: Sequence[int]) -> Row:
    changed = list(row)
    for index in indices:
        changed[index] = None
    return changed


def works(run: Callable[[], Any]) -> bool:
    """Whether a trial ends without an exception."""
    return not isinstance(attempt(run), BaseException)


def attempt(run: Callable[[], Any]) -> Any:
    """Run a trial; give its result, or the exception that ended it."""
    with quiet():
        try:
            return run()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of a trial: it is the answer)
            return error


def says_of_names(run: Callable[[], Any]) -> bool:
    """Whether scikit-learn warns that what a step is given has names, or has none.

    It does where the step was fitted on the other: so what was tried is not what was fitted on.
    """
    with quiet(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        with suppress(Exception, SystemExit):
            run()
    return any("feature names, but" in str(item.message) for item in said)


def same(first: Any, second: Any) -> bool:
    """Whether two results are equal, NaN to NaN."""
    left, right = np.asarray(first), np.asarray(second)
    if left.shape != right.shape:
        return False
    if left.dtype.kind in "fc" and right.dtype.kind in "fc":
        return bool(np.array_equal(left, right, equal_nan=True))
    return bool(np.array_equal(left, right))
