"""A new version is asked at every door before it goes live, by the code that answers callers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import (
    Accepts,
    DType,
    Feature,
    InputForm,
    Layout,
    OutputSpec,
    Signature,
)
from pushserve_server.api.doors.trial_calls import ask_every_door, requests_of
from pushserve_server.domain.door_trial import DoorTrial, trials_from_json
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadInput, ModelFailed, Unavailable
from pushserve_server.serve.models.loaded_version import LoadedVersion

VALUE = (OutputSpec("value", DType.FLOAT64),)
MATRIX = Signature(Layout.MATRIX, (Feature("a", nullable=True), Feature("b")), VALUE, ("value",))
TABLE = Signature(
    Layout.TABLE,
    (
        Feature("n", DType.INT64),
        Feature("t", DType.STRING, nullable=True),
        Feature("x", accepts=Accepts.ANYTHING),
        Feature("flag", DType.BOOL),
    ),
    VALUE,
    ("value",),
    form=InputForm.FRAME,
)
ROWS = [[1.0, 2.0], [None, 4.0], [5.0, 6.5]]
MIXED = [[2**53 + 1, "u", 1, True], [4, None, 2, False]]


class Doubling:
    """An engine whose value is the sum of a row's numbers; `asked` are the arrays that came."""

    size = 0
    name = EngineName.WORKER

    def __init__(self, fault=None) -> None:
        self.fault = fault
        self.asked: list[list[Array]] = []

    async def predict(self, request, selection):
        self.asked.append(request.arrays)
        if self.fault is not None:
            found = self.fault(len(self.asked))
            if isinstance(found, Exception):
                raise found
            if found is not None:
                return selection.one([Array(DType.FLOAT64, np.full(request.rows, found))])
        return selection.one([Array(DType.FLOAT64, total(request.arrays))])


def total(arrays):
    columns = [array for array in arrays if array.dtype.is_number]
    parts = [np.nan_to_num(a.values.astype(float)).reshape(len(a.values), -1) for a in columns]
    return np.hstack(parts).sum(axis=1)


def live(signature, engine):
    version = Version(
        1, "m", 1, "c" * 40, EngineName.WORKER, "d" * 64, signature, {}, datetime.now(UTC)
    )
    return LoadedVersion(version, engine, max_rows=100, max_wait=60.0)


def trial(rows, answers):
    return DoorTrial(tuple(rows), {"value": answers})


def asked(signature, rows, answers, fault=None):
    engine = Doubling(fault)
    asyncio.run(ask_every_door(live(signature, engine), [trial(rows, answers)], 100))
    return engine.asked


def test_rows_a_table_and_a_tensor_reach_the_engine_alike():
    found = asked(MATRIX, ROWS, [3.0, 4.0, 11.5])

    assert 3 == len(found)
    for (array,) in found:
        assert np.array_equal([[1, 2], [np.nan, 4], [5, 6.5]], array.values, equal_nan=True)


def test_typed_columns_reach_the_engine_as_they_are():
    """Also a whole number that JSON would round."""
    found = asked(TABLE, MIXED, [float(2**53 + 3), 6.0])

    assert 2 == len(found)
    for n, text, x, flag in found:
        assert [2**53 + 1, 4] == n.values.tolist()
        assert [False, True] == text.nulls.tolist()
        assert DType.INT64 is x.dtype
        assert [True, False] == flag.values.tolist()


def test_what_a_form_cannot_hold_is_not_asked_by_it():
    """A large id whose type is open is sent in a table alone."""
    opened = replace(TABLE, inputs=(Feature("id", accepts=Accepts.ANYTHING),))

    forms = [form for form, _ in requests_of(opened, [[2**53 + 1]])]

    assert ["a table"] == forms


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda call: 9.0 if call == 2 else None, "by a table 9.0"),
        (lambda call: 9.0 if call == 3 else None, "by a tensor 9.0"),
        (lambda call: BadInput("no such value") if call == 1 else None, "by rows, it refused"),
        (lambda _: Unavailable("it ended", 1.0), "by rows, no answer came: it ended"),
    ],
)
def test_a_door_that_answers_otherwise_is_named(fault, said):
    with pytest.raises(ModelFailed) as raised:
        asked(MATRIX, ROWS, [3.0, 4.0, 11.5], fault)

    assert "ANSWERS_DIFFER" == raised.value.code_reason
    assert said in raised.value.message


def test_a_worker_that_is_started_again_meanwhile_is_asked_again():
    found = asked(
        MATRIX, ROWS, [3.0, 4.0, 11.5], lambda call: Unavailable("x", 1.0) if call == 1 else None
    )

    assert 4 == len(found)


def test_the_row_is_named():
    with pytest.raises(ModelFailed, match=r"the row \[None, 4\.0\] has two answers .* value"):
        asked(MATRIX, ROWS, [3.0, 5.0, 11.5])


@pytest.mark.parametrize(
    "data",
    [
        {},
        [{"rows": [], "answers": {}}],
        [{"rows": [[1.0]], "answers": {}}],
        [{"rows": [[1.0, [2]]], "answers": {}}],
        [{"rows": [[1.0, 2.0]], "answers": {"label": [1]}}],
        [{"rows": [[1.0, 2.0]], "answers": {"value": [1, 2]}}],
        [{"rows": [[1.0, 2**63]], "answers": {}}],
        [{"rows": [[1.0, float("nan")]], "answers": {}}],
        [{"rows": [[1.0, 2.0]] * 33, "answers": {}}],
        [{"rows": [[1.0, 2.0]], "answers": {"value": ["x" * 300_000]}}],
    ],
)
def test_a_build_that_gives_no_trial_is_not_believed(data):
    with pytest.raises(ValueError, match=r"no |not |more "):
        trials_from_json(data, MATRIX)
