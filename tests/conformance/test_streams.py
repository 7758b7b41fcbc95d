"""Streams: what is answered one by one, and what a method sends by itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.transport.call import WINDOW, Call
from pushserve_server.errors import BadInput
from tests.fixtures.served import until
from tests.fixtures.transports import TRANSPORTS, Holding, answer, echo, named, running, streamed

transports = pytest.mark.parametrize("transport", TRANSPORTS)


class Replies:
    """Reads a stream's answers on a thread of its own."""

    def __init__(self, call) -> None:
        self.names: list[str] = []
        self.code: grpc.StatusCode | None = None
        self._call = call
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for reply in self._call:
                self.names.append(reply.response.model or reply.error.reason)
            self.code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.code = error.code()

    def all(self) -> list[str]:
        self._thread.join(20)
        return self.names


def numbered(count: int):
    return streamed(*map(str, range(count)))


@transports
def test_a_stream_is_answered_in_order_whatever_is_ready_first(transport):
    holding = Holding()
    with running(transport, holding) as server:
        replies = Replies(server.stub.PredictStream(numbered(5), timeout=20))
        until(lambda: 5 == len(holding.calls))
        for one in holding.calls[:0:-1]:
            answer(one)
        time.sleep(0.2)
        assert [] == replies.names
        holding.calls[0].fail(BadInput("no", reason="WRONG_FORM"))
        assert ["WRONG_FORM", "1", "2", "3", "4"] == replies.all()
        assert grpc.StatusCode.OK is replies.code


@transports
def test_streams_answered_from_several_threads_lose_nothing(transport):
    with ThreadPoolExecutor(4) as pool:

        def handle(calls: list[Call]) -> None:
            for one in calls:
                pool.submit(answer, one)

        with running(transport, handle) as server:
            streams = [
                Replies(server.stub.PredictStream(numbered(300), timeout=20)) for _ in range(4)
            ]
            for stream in streams:
                assert [f"{i}" for i in range(300)] == stream.all()


@transports
def test_no_more_of_a_stream_is_read_than_is_worked_on(transport):
    holding = Holding()
    with running(transport, holding) as server:
        replies = Replies(server.stub.PredictStream(numbered(2 * WINDOW), timeout=20))
        until(lambda: WINDOW == len(holding.calls))
        time.sleep(0.3)
        assert WINDOW == len(holding.calls)
        first, holding.calls = holding.calls, []
        echo(first)
        until(lambda: WINDOW == len(holding.calls))
        echo(holding.calls)
        assert [f"{i}" for i in range(2 * WINDOW)] == replies.all()


@transports
def test_a_stream_without_requests_ends_well(transport):
    with running(transport) as server:
        replies = Replies(server.stub.PredictStream(iter(()), timeout=20))
        assert [] == replies.all()
        assert grpc.StatusCode.OK is replies.code


@transports
def test_each_request_of_a_stream_counts_towards_the_limit(transport):
    holding = Holding()
    with running(transport, holding, groups={"predict": 3}) as server:
        replies = Replies(server.stub.PredictStream(numbered(5), timeout=20))
        until(lambda: 3 == len(holding.calls))
        time.sleep(0.1)
        echo(holding.calls)
        assert ["0", "1", "2", "OVERLOADED", "OVERLOADED"] == replies.all()
        assert 0 == server.pipeline.in_flight("predict")


@transports
def test_streams_have_a_limit_of_their_own(transport):
    with running(transport, groups={"streams": 2}, grace=0.2) as server:
        hold = threading.Event()

        def slowly():
            hold.wait(20)
            yield from ()

        opened = [Replies(server.stub.PredictStream(slowly(), timeout=20)) for _ in range(2)]
        until(lambda: 2 == server.pipeline.in_flight("streams"))
        with pytest.raises(grpc.RpcError) as caught:
            list(server.stub.PredictStream(streamed("m"), timeout=20))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        assert "m" == server.stub.Predict(named("m"), timeout=20).model
        hold.set()
        assert [[], []] == [one.all() for one in opened]
        until(lambda: 0 == server.pipeline.in_flight("streams"))


@transports
@pytest.mark.parametrize("when", ["before", "after"])
def test_who_works_for_a_stream_learns_that_the_caller_gave_up(transport, when):
    """Whether he asked to be told before it happened or after."""
    holding = Holding()
    gone = threading.Event()
    with running(transport, holding, grace=0.1) as server:
        call = server.stub.PredictStream(numbered(1), timeout=20)
        until(lambda: 1 == len(holding.calls))
        if when == "before":
            holding.calls[0].when_gone(gone.set)
            call.cancel()
        else:
            call.cancel()
            until(lambda: 0 == server.pipeline.in_flight("streams"))
            holding.calls[0].when_gone(gone.set)
        assert gone.wait(10)


@transports
def test_a_method_sends_a_stream(transport):
    with running(transport) as server:
        request = pb.WatchDeploymentRequest(name="d")
        call = server.stub.WatchDeployment(request, timeout=20, metadata=(("x-request-id", "w"),))
        assert ["d 0", "d 1", "d 2"] == [reply.deployment.name for reply in call]
        assert "w" == dict(call.trailing_metadata())["x-request-id"]


@transports
def test_a_stream_that_fails_half_way_has_sent_what_came_before(transport):
    with running(transport) as server:
        call = server.stub.WatchDeployment(pb.WatchDeploymentRequest(name="broken"), timeout=20)
        assert "broken 0" == next(call).deployment.name
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


@transports
def test_a_message_over_the_limit_ends_the_stream(transport):
    with running(transport) as server:
        with pytest.raises(grpc.RpcError) as caught:
            list(server.stub.PredictStream(streamed("a", "b" * 70_000), timeout=20))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        until(lambda: 0 == server.pipeline.in_flight("streams"))
        assert "m" == server.stub.Predict(named("m"), timeout=20).model
