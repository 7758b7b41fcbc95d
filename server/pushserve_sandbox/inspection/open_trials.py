"""Open trials: what columns whose type is open take, found out by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pushserve_runtime.signature import Accepts, DType, Feature, Layout
from pushserve_sandbox.inspection.input_forms import Handed
from pushserve_sandbox.inspection.probing import SINGLE_PROBES, Row

Takes = Callable[[Handed, list[Row]], bool]
"""Whether an estimator takes rows in this form."""

_OF_NULLS: Final = (DType.FLOAT64, DType.STRING)
"""Types of a column in which every value of a call is null."""
_ANY: Final = (1.5, -7.25)
"""Two values, so that whoever looks at them tells them apart."""
_OFTEN: Final = 32
"""Times that each row is asked about by who looks whether chance has a part in answers."""

Differ = Callable[[Handed, list[Row], list[Row]], bool]
"""Whether an estimator answers differently to some rows and to others, or to one of them alone."""


def seen_columns(handed: Handed, rows: Sequence[Row], differ: Differ) -> Handed:
    """Open those of the unused columns whose values change an answer, so that they are kept.

    What is known of an estimator's structure says which are unused; this is the proof.
    """
    unused = [i for i, f in enumerate(handed.features) if f.accepts is Accepts.UNUSED]
    opened = _changed(handed, unused, accepts=Accepts.ANYTHING)

    def matters(columns: Sequence[int]) -> bool:
        made = [
            [_with(row, {i: value * (i + 1) for i in columns}) for row in rows] for value in _ANY
        ]
        return differ(opened, *made)

    often = [row for row in rows for _ in range(_OFTEN)]
    if not unused or differ(opened, often, often) or not matters(unused):
        return handed  # one that answers by chance proves nothing
    seen = unused if len(unused) > SINGLE_PROBES else [i for i in unused if matters([i])]
    return _changed(handed, seen or unused, accepts=Accepts.ANYTHING)


def settle_types(handed: Handed, rows: Sequence[Row], takes: Takes, differ: Differ) -> Handed:
    """Narrow the features that are open to what the estimator takes; `rows` are some of these."""
    handed = _of_whole_numbers(handed, rows, takes)
    return _of_nulls(_of_truth_values(handed, rows, takes, differ), rows, takes)


def _of_truth_values(handed: Handed, rows: Sequence[Row], takes: Takes, differ: Differ) -> Handed:
    """Have float64 reach an array in which True is refused, and 1 and 1.0 are the same."""
    opened = [i for i, feature in enumerate(handed.features) if feature.is_open]
    if handed.layout is not Layout.MATRIX or not opened:
        return handed

    def filled(kind: type) -> list[Row]:
        return [_with(row, {i: kind((r + i) % 2) for i in opened}) for r, row in enumerate(rows)]

    if takes(handed, filled(bool)) or differ(handed, filled(int), filled(float)):
        return handed
    return _changed(handed, opened, dtype=DType.FLOAT64, accepts=Accepts.DTYPE)


def _of_whole_numbers(handed: Handed, rows: Sequence[Row], takes: Takes) -> Handed:
    """Have float64 reach columns in which 2 is refused and 2.0 is not, as code that writes does."""
    columns = [
        i
        for i, feature in enumerate(handed.features)
        if feature.is_open and all(type(row[i]) in (int, float) for row in rows)
    ]
    if not columns or _takes_whole(handed, rows, columns, takes):
        return handed
    # The columns of an array have one type.
    groups = [columns] if handed.layout is Layout.MATRIX else [[i] for i in columns]
    for group in groups[:SINGLE_PROBES]:
        if not _takes_whole(handed, rows, group, takes):
            handed = _changed(handed, group, dtype=DType.FLOAT64, accepts=Accepts.DTYPE)
    return handed


def _takes_whole(handed: Handed, rows: Sequence[Row], columns: Sequence[int], takes: Takes) -> bool:
    """Whether it takes whole numbers as such, or refuses the same numbers as float64 too."""
    whole = [_with(row, {i: round(row[i]) for i in columns}) for row in rows]
    floats = [_with(row, {i: float(round(row[i])) for i in columns}) for row in rows]
    return takes(handed, whole) or not takes(handed, floats)


def _of_nulls(handed: Handed, rows: Sequence[Row], takes: Takes) -> Handed:
    """Choose the type of nulls that come alone, where one of the two is refused."""
    opened = [i for i, feature in enumerate(handed.features) if feature.is_open]
    for columns in [opened, *([i] for i in opened[:SINGLE_PROBES])] if opened else []:
        null = [_with(rows[0], dict.fromkeys(columns))]
        if not takes(handed, null):
            tried = (_changed(handed, columns, dtype=dtype) for dtype in _OF_NULLS)
            handed = next((other for other in tried if takes(other, null)), handed)
    return handed


def _with(row: Row, values: dict[int, Any]) -> Row:
    return [values.get(i, value) for i, value in enumerate(row)]


def _changed(handed: Handed, columns: Sequence[int], **changes: Any) -> Handed:
    features: list[Feature] = list(handed.features)
    for i in columns:
        features[i] = replace(features[i], **changes)
    return replace(handed, features=tuple(features))
