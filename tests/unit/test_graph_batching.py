"""Calls that come together run as one, and a bad one fails alone."""

import json

import numpy as np
import pytest

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.errors import BadInput, ModelFailed
from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder
from pushserve_server.serve.codec.output_selection import OutputSelection, plan_outputs
from pushserve_server.serve.engines.graph_batching import BatchedCall, Inline, run_batch

SIGNATURE = Signature(
    Layout.MATRIX,
    (Feature("x"),),
    (OutputSpec("double", DType.FLOAT64), OutputSpec("whole", DType.INT64)),
    ("double", "whole"),
)
DECODER = Decoder(SIGNATURE, 100)


def request(*values: float) -> DecodedRequest:
    """Give rows as they come from a client that packs doubles."""
    made = DECODER.from_raw(np.array(values, float).tobytes(), [len(values), 1])
    assert made is not None
    return made


def decoded(*values: float) -> DecodedRequest:
    """Give rows as they come from any other client."""
    return DECODER.from_tensor(np.array(values, float), [])


class Lists:
    """Answers are lists of lists, as JSON."""

    def one(self, arrays) -> bytes:
        return json.dumps([array.values.tolist() for array in arrays]).encode()

    def each(self, arrays) -> list[bytes]:
        count = len(arrays[0].values)
        return [
            self.one([Array(a.dtype, a.values[i : i + 1]) for a in arrays]) for i in range(count)
        ]


def selection(*names: str) -> OutputSelection:
    return OutputSelection(plan_outputs(SIGNATURE, names), Lists())


BOTH = selection()


class Graph:
    """Doubles its rows; refuses a batch that holds a 13."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def __call__(self, arrays: list[Array]) -> list[Array]:
        values = arrays[0].values[:, 0]
        self.batches.append(values.tolist())
        if 13 in values:
            raise ValueError("thirteen")
        return [Array(DType.FLOAT64, values * 2), Array(DType.INT64, values.astype(int))]


class Caller:
    """Takes one answer or error, and no second one."""

    def __init__(self) -> None:
        self.got: list | Exception | None = None

    def reply(self, data: bytes) -> None:
        assert self.got is None
        self.got = json.loads(data)

    def fail(self, error: Exception) -> None:
        assert self.got is None
        self.got = error


def call_all(
    graph: Graph, *requests: DecodedRequest, most_rows: int = 100, way: OutputSelection = BOTH
) -> list[list | Exception | None]:
    """Ask for all of them; give what each is answered, or what it failed with."""
    callers = [Caller() for _ in requests]
    calls = [
        BatchedCall(request, way, caller) for request, caller in zip(requests, callers, strict=True)
    ]
    run_batch(Inline(graph, most_rows), calls)
    return [caller.got for caller in callers]


@pytest.mark.parametrize("make", [request, decoded])
def test_calls_run_as_one_and_get_their_own_rows(make):
    graph = Graph()
    answers = call_all(graph, make(1), make(2, 3), make(4))
    assert [[1, 2, 3, 4]] == graph.batches
    assert [[[2], [1]], [[4, 6], [2, 3]], [[8], [4]]] == answers


def test_calls_of_one_row_get_their_own():
    answers = call_all(Graph(), *map(request, range(4)))
    assert [[[2.0 * i], [i]] for i in range(4)] == answers


def test_both_forms_run_as_one():
    graph = Graph()
    assert [[[2], [1]], [[4], [2]]] == call_all(graph, request(1), decoded(2))
    assert [[1, 2]] == graph.batches


def test_outputs_come_in_the_order_asked_for():
    answers = call_all(Graph(), request(1), request(2), way=selection("whole", "double"))
    assert [[[1], [2]], [[2], [4]]] == answers


def test_a_row_that_the_graph_refuses_fails_alone():
    answers = call_all(Graph(), request(1), request(13), request(2))
    assert isinstance(answers[1], ModelFailed)
    assert "thirteen" in str(answers[1].__cause__)
    assert "thirteen" not in answers[1].message
    assert [[[2], [1]], [[4], [2]]] == [answers[0], answers[2]]


def test_a_row_that_is_not_finite_fails_alone_and_the_others_run_as_one():
    graph = Graph()
    bad = [request(np.nan), request(1, np.inf)]
    answers = call_all(graph, request(1), *bad, request(2), request(3))
    assert [[1, 2, 3]] == graph.batches
    assert [[[2], [1]], [[4], [2]], [[6], [3]]] == [answers[0], *answers[3:]]
    for answer, row in zip(answers[1:3], (0, 1), strict=True):
        assert isinstance(answer, BadInput)
        assert ["x"] == [violation.field for violation in answer.violations]
        assert f"row {row}" in answer.violations[0].description


def test_one_is_not_finite_and_one_is_refused_and_each_is_told_once():
    answers = call_all(Graph(), request(np.nan), request(13), request(1))
    assert [BadInput, ModelFailed, list] == [type(answer) for answer in answers]


def test_bad_rows_alone_never_come_to_the_graph():
    graph = Graph()
    answers = call_all(graph, request(np.nan), request(np.inf))
    assert [BadInput, BadInput] == [type(answer) for answer in answers]
    assert [] == graph.batches


def test_no_batch_is_larger_than_allowed():
    graph = Graph()
    call_all(graph, *(request(i) for i in range(5)), request(5, 6, 7, 8), most_rows=3)
    assert [[0, 1, 2], [3, 4], [5, 6, 7, 8]] == graph.batches


def test_where_nothing_can_be_joined_each_runs_by_itself():
    graph = Graph()
    call_all(graph, request(1), request(2, 3), most_rows=0)
    assert [[1], [2, 3]] == graph.batches
