"""Calls that arrive together run as one, where that wins."""

import asyncio
import json

import numpy as np
import pytest

from pushserve_sandbox.frames import Array
from pushserve_sandbox.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.errors import BadInput
from pushserve_server.serve.answering import Answering, plan_outputs
from pushserve_server.serve.decoding import Decoder, Request
from pushserve_server.serve.gathering import ENOUGH, Gatherer, Policy

SIGNATURE = Signature(
    Layout.MATRIX,
    (Feature("x"),),
    (OutputSpec("double", DType.FLOAT64), OutputSpec("whole", DType.INT64)),
    ("double", "whole"),
)
DECODER = Decoder(SIGNATURE, 100)


def request(*values: float) -> Request:
    """Give rows as they come from a client that packs doubles."""
    made = DECODER.from_raw(np.array(values, float).tobytes(), [len(values), 1])
    assert made is not None
    return made


def decoded(*values: float) -> Request:
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


def answering(*names: str) -> Answering:
    return Answering(plan_outputs(SIGNATURE, names), Lists())


BOTH = answering()


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


def busy() -> Policy:
    policy = Policy()
    policy.waiting = True
    return policy


def call_all(gatherer: Gatherer, *requests: Request | tuple[Request, Answering]) -> list:
    """Call with all of them at once; give what each is answered, or what it raises."""

    async def call(one: Request | tuple[Request, Answering]) -> list:
        rows, way = one if isinstance(one, tuple) else (one, BOTH)
        return json.loads(await gatherer.predict(rows, way))

    async def together() -> list:
        return await asyncio.gather(*map(call, requests), return_exceptions=True)

    return asyncio.run(together())


class TestGatherer:
    @pytest.mark.parametrize("make", [request, decoded])
    def test_calls_that_come_together_run_as_one_and_get_their_own_rows(self, make):
        graph = Graph()
        answers = call_all(Gatherer(graph, busy(), 100), make(1), make(2, 3), make(4))
        assert [[1, 2, 3, 4]] == graph.batches
        assert [[[2], [1]], [[4, 6], [2, 3]], [[8], [4]]] == answers

    def test_calls_of_one_row_get_their_own(self):
        answers = call_all(Gatherer(Graph(), busy(), 100), *map(request, range(4)))
        assert [[[2.0 * i], [i]] for i in range(4)] == answers

    def test_both_forms_run_as_one(self):
        graph = Graph()
        answers = call_all(Gatherer(graph, busy(), 100), request(1), decoded(2))
        assert [[1, 2]] == graph.batches
        assert [[[2], [1]], [[4], [2]]] == answers

    def test_each_gets_its_outputs_in_the_order_it_asked_for(self):
        graph = Graph()
        other = answering("whole", "double")
        answers = call_all(Gatherer(graph, busy(), 100), request(1), (request(2), other))
        assert [[1, 2]] == graph.batches
        assert [[[2], [1]], [[2], [4]]] == answers

    def test_a_row_that_the_graph_refuses_fails_alone(self):
        answers = call_all(Gatherer(Graph(), busy(), 100), request(1), request(13), request(2))
        assert isinstance(answers[1], ValueError)
        assert [[[2], [1]], [[4], [2]]] == [answers[0], answers[2]]

    def test_a_row_that_is_not_finite_fails_alone_and_the_others_run_as_one(self):
        graph = Graph()
        bad = [request(np.nan), request(1, np.inf)]
        answers = call_all(Gatherer(graph, busy(), 100), request(1), *bad, request(2), request(3))
        assert [[1, 2, 3]] == graph.batches
        assert [[[2], [1]], [[4], [2]], [[6], [3]]] == [answers[0], *answers[3:]]
        for answer, row in zip(answers[1:3], (0, 1), strict=True):
            assert isinstance(answer, BadInput)
            assert ["x"] == [violation.field for violation in answer.violations]
            assert f"row {row}" in answer.violations[0].description

    def test_bad_rows_alone_never_come_to_the_graph(self):
        graph = Graph()
        answers = call_all(Gatherer(graph, busy(), 100), request(np.nan), request(np.inf))
        assert [BadInput, BadInput] == [type(answer) for answer in answers]
        assert [] == graph.batches

    def test_no_batch_is_larger_than_allowed(self):
        graph = Graph()
        call_all(Gatherer(graph, busy(), 3), *(request(i) for i in range(5)), request(5, 6, 7, 8))
        assert [[0, 1, 2], [3, 4], [5, 6, 7, 8]] == graph.batches

    @pytest.mark.parametrize("policy", [None, Policy()])
    def test_who_is_alone_does_not_wait(self, policy):
        """The answer is there at once: nothing gives way to another call."""
        graph = Graph()
        answer = Gatherer(graph, policy, 100).predict(request(1), BOTH)
        assert b"[[2.0], [1]]" == answer
        assert [[1]] == graph.batches

    def test_who_gave_up_is_not_computed_for(self):
        graph = Graph()
        gatherer = Gatherer(graph, busy(), 100)

        async def one_gives_up() -> bytes:
            gone = gatherer.predict(request(1), BOTH)
            stays = gatherer.predict(request(2), BOTH)
            gone.cancel()
            return await stays

        assert b"[[4.0], [2]]" == asyncio.run(one_gives_up())
        assert [[2]] == graph.batches


class TestPolicy:
    def many(self, policy: Policy, seconds: float, start: float = 0.0) -> None:
        """256 calls in so many seconds."""
        for i in range(1, 257):
            now = start + seconds * i / 256
            policy.called(lambda now=now: now)

    def test_few_calls_never_wait(self):
        policy = Policy()
        self.many(policy, 1.0)
        assert not policy.waiting

    def test_many_calls_are_tried_and_go_on_while_enough_come_together(self):
        policy = Policy()
        self.many(policy, 0.1)
        assert policy.waiting
        for _ in range(100):
            policy.ran(ENOUGH, 1.0)
        assert policy.waiting

    def test_a_vain_trial_ends_and_the_next_comes_later_each_time(self):
        policy = Policy()
        now, waits = 0.0, []
        for _ in range(3):
            self.many(policy, 0.1, now)
            assert policy.waiting
            for _ in range(20):
                policy.ran(ENOUGH - 1, now)
            assert not policy.waiting
            ended = now
            while not policy.waiting:
                now += 0.25
                self.many(policy, 0.1, now)
            waits.append(now - ended)
            policy.waiting = False
        assert waits == sorted(set(waits))
