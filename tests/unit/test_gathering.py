"""Calls that arrive together run as one, where that wins."""

import asyncio

import numpy as np
import pytest

from pushserve_sandbox.frames import Array
from pushserve_sandbox.signature import DType
from pushserve_server.serve.decoding import Request
from pushserve_server.serve.gathering import ENOUGH, Gatherer, Policy


def request(*values: float) -> Request:
    matrix = np.array(values, float).reshape(-1, 1)
    return Request(len(values), [Array(DType.FLOAT64, matrix)])


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


def call_all(gatherer: Gatherer, *requests: Request) -> list:
    async def together() -> list:
        calls = (gatherer.predict(one) for one in requests)
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(together())


class TestGatherer:
    def test_calls_that_come_together_run_as_one_and_get_their_own_rows(self):
        graph = Graph()
        answers = call_all(Gatherer(graph, busy(), 100), request(1), request(2, 3), request(4))
        assert [[1, 2, 3, 4]] == graph.batches
        assert [[2], [4, 6], [8]] == [answer[0].values.tolist() for answer in answers]
        assert [[1], [2, 3], [4]] == [answer[1].values.tolist() for answer in answers]

    def test_a_bad_row_fails_alone(self):
        answers = call_all(Gatherer(Graph(), busy(), 100), request(1), request(13), request(2))
        assert isinstance(answers[1], ValueError)
        assert [[2], [4]] == [answer[0].values.tolist() for answer in (answers[0], answers[2])]

    def test_no_batch_is_larger_than_allowed(self):
        graph = Graph()
        call_all(Gatherer(graph, busy(), 3), *(request(i) for i in range(5)), request(5, 6, 7, 8))
        assert [[0, 1, 2], [3, 4], [5, 6, 7, 8]] == graph.batches

    @pytest.mark.parametrize("policy", [None, Policy()])
    def test_who_is_alone_does_not_wait(self, policy):
        """There is no await that could give way to another call."""
        graph = Graph()
        call = Gatherer(graph, policy, 100).predict(request(1))
        with pytest.raises(StopIteration):
            call.send(None)
        assert [[1]] == graph.batches

    def test_who_gave_up_is_not_computed_for(self):
        graph = Graph()
        gatherer = Gatherer(graph, busy(), 100)

        async def one_gives_up() -> list:
            gone = asyncio.create_task(gatherer.predict(request(1)))
            stays = asyncio.create_task(gatherer.predict(request(2)))
            await asyncio.sleep(0)
            gone.cancel()
            return await stays

        assert [4] == asyncio.run(one_gives_up())[0].values.tolist()
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
