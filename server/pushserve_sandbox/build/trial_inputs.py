"""Trial inputs: rows that a build asks a model about, beside its examples.

They are made of what the model shows and of the examples: the values themselves, others near them,
one whole number to either side, nulls and empty texts where these are taken, and a row twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature, Layout, Signature
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.feature_names import known_features
from pushserve_sandbox.inspection.probing import attempt, made_rows
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.prediction.row_arrays import (
    RowInvalid,
    arrays_of,
    records_array,
    row_values,
)

Row = list[Any]

_GIVEN: Final = 12
"""Examples that are taken."""
_MADE: Final = 12
_SEED: Final = 20_240_601
_NULLS: Final = 0.1
_QUICK: Final = 0.5
"""Seconds of processor time for the rows of a group; a slower model has fewer."""
_FEW: Final = 2
_KINDS: Final = ((True, False), (3, 1, 2), ("b", "", "a"), ("2024-01-31", "2023-12-01"))


def trial_inputs(model: Any, predictor: Predictor, inputs: Sequence[Any]) -> list[list[Any]]:
    """Give groups of rows that the model takes, one made of the examples, one of the model.

    A row is the plain values of the features in their order, or an object where the layout is
    RECORDS. Rows of a group have values of the same types in each column.
    """
    signature = predictor.signature
    if signature.layout is Layout.RECORDS:
        groups: list[list[Any]] = [[*inputs[:_GIVEN], *inputs[:1]]]
    else:
        groups = _groups(model, signature, inputs)
    return [rows for group in groups if (rows := _taken(predictor, group))]


def arrays_for(signature: Signature, rows: Sequence[Any]) -> list[Array]:
    """Make the arrays of a request from rows of a group."""
    if signature.layout is Layout.RECORDS:
        return [records_array(rows)]
    return arrays_of(signature.layout, signature.inputs, rows)


def _groups(model: Any, signature: Signature, inputs: Sequence[Any]) -> list[list[Row]]:
    features = signature.inputs
    known: Any = attempt(lambda: known_features(model, [feature.name for feature in features]))
    if isinstance(known, BaseException) or len(known) != len(features):
        known = [Known()] * len(features)
    given = [row for item in inputs[:_GIVEN] if (row := _values(features, item)) is not None]
    made = made_rows(features, known)
    groups = [_with_near(features, known, rows) for rows in (given, made) if rows]
    return [*groups, *_of_each_kind(features, made)]


def _of_each_kind(features: Sequence[Feature], made: Sequence[Row]) -> Iterator[list[Row]]:
    """Fill the columns whose type is open with truth values, whole numbers, texts and dates."""
    opened = [column for column, feature in enumerate(features) if feature.is_open]
    if not opened:
        return
    for values in _KINDS:
        rows = [list(row) for row in made]
        for number, row in enumerate(rows):
            for column in opened:
                row[column] = values[(number + column) % len(values)]
        yield rows
        with_nulls = [list(row) for row in rows]
        for column in opened:
            with_nulls[column % len(rows)][column] = None
        if all(features[column].nullable for column in opened):
            yield with_nulls


def _values(features: Sequence[Feature], item: Any) -> Row | None:
    try:
        return row_values(features, item)
    except RowInvalid:
        return None  # the examples' own check says so


def _with_near(
    features: Sequence[Feature], known: Sequence[Known], rows: Sequence[Row]
) -> list[Row]:
    """Give rows, the first one once more, and others that are near them."""
    chance = random.Random(_SEED)  # noqa: S311 (the same rows every time are wanted)
    pools = [
        [row[i] for row in rows if row[i] is not None] or list(item.examples)
        for i, item in enumerate(known)
    ]
    near = [
        [_near(feature, pool, chance) for feature, pool in zip(features, pools, strict=True)]
        for _ in range(_MADE)
    ]
    return [*map(list, rows), list(rows[0]), *near]


def _near(feature: Feature, pool: Sequence[Any], chance: random.Random) -> Any:
    if feature.nullable and chance.random() < _NULLS:
        return None
    if feature.categories:
        return chance.choice(feature.categories)
    value = chance.choice(pool) if pool else 0
    if type(value) is bool:
        return chance.random() < 0.5
    if type(value) is int:
        return value + chance.randint(-1, 1)
    if type(value) is float:
        whole = feature.dtype in (DType.INT64, DType.INT32)
        moved = value * chance.uniform(0.5, 1.5)
        return round(moved) if whole else moved
    return value if feature.as_dates or chance.random() < 0.9 else ""


def _taken(predictor: Predictor, rows: Sequence[Any]) -> list[Any]:
    """Keep the rows that the model takes."""
    started = time.thread_time()
    takes = _takes(predictor, rows)
    passed = time.thread_time() - started
    if passed > _QUICK and len(rows) > _FEW:  # each is asked many times more
        return _taken(predictor, rows[: max(int(len(rows) * _QUICK / passed), _FEW)])
    if takes:
        return list(rows)
    kept = [row for row in rows if _takes(predictor, [row])]
    return kept if kept and _takes(predictor, kept) else []


def _takes(predictor: Predictor, rows: Sequence[Any]) -> bool:
    signature = predictor.signature
    result = attempt(
        lambda: predictor.predict(arrays_for(signature, rows), signature.default_outputs)
    )
    return not isinstance(result, BaseException)
