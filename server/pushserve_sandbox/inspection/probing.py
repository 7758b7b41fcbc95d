"""Probing: finds out by trial what an estimator accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pushserve_runtime.signature import DType, Feature
from pushserve_sandbox.inspection.fitted_columns import Known
from pushserve_sandbox.prediction.model_outputs import quiet

SINGLE_PROBES: Final = 64
ROWS: Final = 3

Row = list[Any]


def made_rows(features: Sequence[Feature], known: Sequence[Known]) -> list[Row]:
    """Make rows from what the estimator knows: its categories and means, else small numbers."""
    return [[_value(f, k, i) for f, k in zip(features, known, strict=True)] for i in range(ROWS)]


def plain_rows(features: Sequence[Feature], known: Sequence[Known]) -> list[Row]:
    """Make rows of zeros, with categories only where no other value is allowed."""
    return [
        [_value(f, Known() if f.dtype.is_number and not k.categories else k, 0) for f, k in pairs]
        for pairs in [list(zip(features, known, strict=True))]
    ]


def _value(feature: Feature, known: Known, index: int) -> Any:
    if feature.categories:
        return feature.categories[index % len(feature.categories)]
    if known.examples and known.dtype is not None:
        return known.examples[index % len(known.examples)]
    if feature.dtype is DType.STRING:
        return "text"
    if feature.dtype is DType.BOOL:
        return index % 2 == 1
    base = known.examples[0] if known.examples else 0.0
    value = float(base) + (0.0, 1.0, 0.5)[index % 3]
    return int(value) if feature.dtype in (DType.INT64, DType.INT32) else value


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


def same(first: Any, second: Any) -> bool:
    """Whether two results are equal, NaN to NaN."""
    left, right = np.asarray(first), np.asarray(second)
    if left.shape != right.shape:
        return False
    if left.dtype.kind in "fc" and right.dtype.kind in "fc":
        return bool(np.array_equal(left, right, equal_nan=True))
    return bool(np.array_equal(left, right))
