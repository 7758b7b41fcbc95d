"""The core transport: a real server and real clients, with a handler that the test chooses."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.api.transport.core_calls import WINDOW, Call, start_stream, start_unary
from pushserve_server.api.transport.core_server import OPTIONS, CoreTransport
from pushserve_server.errors import BadInput
from tests.fixtures.served import until

LIMIT = 64 * 1024
SERVICE = "pushserve.v1.ModelService"
GIVEN_UP = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Running:
    """A server whose Predict and PredictStream go to `handle`, and whose Get grpc.aio answers."""

    def __init__(self, handle: Callable[[list[Call]], None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._start(handle))
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self._port}")
        self.stub = pb_grpc.ModelServiceStub(self.channel)

    async def _start(self, handle: Callable[[list[Call]], None]) -> None:
        limit = ("grpc.max_receive_message_length", LIMIT)
        self._server = grpc.aio.server(options=[limit, *OPTIONS])
        get = grpc.unary_unary_rpc_method_handler(get_handler)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Get": get}),)
        )
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        hot = {"Predict": start_unary, "PredictStream": start_stream}
        self._transport = CoreTransport(
            self._server, {f"/{SERVICE}/{m}": hot[m] for m in hot}, handle
        )
        await self._server.start()
        self._transport.start()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def stop(self, grace: float) -> None:
        self._run(self._server.stop(grace))
        self._transport.stop()
        self._transport.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


async def get_handler(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return pb.GetResponse(model=pb.Model(name="from grpc.aio")).SerializeToString()


@contextlib.contextmanager
def running(handle: Callable[[list[Call]], None], grace: float = 5) -> Iterator[Running]:
    server = Running(handle)
    try:
        yield server
    finally:
        server.channel.close()
        server.stop(grace)


def named(name: str, size: int = 0) -> pb.PredictRequest:
    return pb.PredictRequest(model=name, tensor=pb.Tensor(raw=bytes(size)))


def answer(one: Call) -> None:
    one.reply(pb.PredictResponse(model=one.request().model).SerializeToString())


def echo(calls: list[Call]) -> None:
    """Answer each with the model that it named."""
    for one in calls:
        answer(one)


class Holding:
    """Keeps what is asked, for the test to answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, calls: list[Call]) -> None:
        self.calls += calls

    def names(self) -> list[str]:
        return [one.request().model for one in self.calls]


def test_each_call_gets_its_own_answer_while_grpc_aio_answers_the_rest():
    with running(echo) as server, ThreadPoolExecutor(8) as pool:
        names = [f"m{i}" for i in range(400)]
        replies = pool.map(lambda name: server.stub.Predict(named(name), timeout=20), names)
        assert "from grpc.aio" == server.stub.Get(pb.GetRequest(), timeout=20).model.name
        assert names == [reply.model for reply in replies]


def test_what_comes_while_the_handler_is_busy_comes_together():
    batches: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def handle(calls: list[Call]) -> None:
        batches.append(len(calls))
        begun.set()
        assert go_on.wait(20)
        echo(calls)

    with running(handle) as server:
        first = server.stub.Predict.future(named("first"), timeout=20)
        assert begun.wait(20)
        more = [server.stub.Predict.future(named(f"{i}"), timeout=20) for i in range(10)]
        time.sleep(0.3)
        go_on.set()
        assert "first" == first.result().model
        assert [f"{i}" for i in range(10)] == [call.result().model for call in more]
    assert 1 == batches[0]
    assert 10 == sum(batches[1:])
    assert len(batches) <= 4, batches


def test_a_flood_is_handed_over_whole():
    """gRPC's core would cancel some of more than 1,000 calls that wait for their turn."""
    begun, go_on = threading.Event(), threading.Event()

    def handle(calls: list[Call]) -> None:
        begun.set()
        assert go_on.wait(20)
        echo(calls)

    with running(handle) as server:
        calls = [server.stub.Predict.future(named("first"), timeout=20)]
        assert begun.wait(20)
        calls += [server.stub.Predict.future(named(f"{i}"), timeout=20) for i in range(4000)]
        time.sleep(0.5)
        go_on.set()
        assert ["first", *map(str, range(4000))] == [call.result().model for call in calls]


def test_an_error_has_its_code_text_and_details():
    def refuse(calls: list[Call]) -> None:
        calls[0].fail(BadInput("it is wrong: ünlike", reason="WRONG_FORM"))

    with running(refuse) as server, pytest.raises(grpc.RpcError) as caught:
        server.stub.Predict(named("m"), timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "it is wrong: ünlike" == caught.value.details()
    assert b"WRONG_FORM" in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]


def test_a_handler_that_raises_does_not_stop_the_transport():
    times = []

    def once(calls: list[Call]) -> None:
        times.append(1)
        if len(times) == 1:
            raise ValueError("a defect")
        echo(calls)

    with running(once) as server:
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Predict(named("lost"), timeout=20)
        assert grpc.StatusCode.INTERNAL == caught.value.code()
        assert "defect" not in caught.value.details()
        assert "next" == server.stub.Predict(named("next"), timeout=20).model


def test_only_the_first_answer_counts():
    def twice(calls: list[Call]) -> None:
        for one in calls:
            answer(one)
            one.fail(BadInput("too late"))

    with running(twice) as server:
        assert ["m"] * 3 == [
            server.stub.Predict(named("m"), timeout=20).model,
            *Replies(
                server.stub.PredictStream(
                    iter([pb.PredictStreamRequest(request=named("m"))] * 2), timeout=20
                )
            ).all(),
        ]


def test_a_request_over_the_limit_is_refused():
    with running(echo) as server:
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Predict(named("big", LIMIT), timeout=20)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
        assert "fits" == server.stub.Predict(named("fits", LIMIT // 2), timeout=20).model


def test_a_call_without_a_request_is_told_so():
    with running(echo) as server:
        call = server.channel.stream_unary(f"/{SERVICE}/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


def test_bytes_that_are_no_request_are_an_error_of_the_caller():
    def handle(calls: list[Call]) -> None:
        with pytest.raises(BadInput) as raised:
            calls[0].request()
        calls[0].fail(raised.value)

    with running(handle) as server:
        call = server.channel.unary_unary(f"/{SERVICE}/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


def test_compressed_requests_are_read():
    with running(echo) as server:
        reply = server.stub.Predict(
            named("m" * 2000), timeout=20, compression=grpc.Compression.Gzip
        )
    assert "m" * 2000 == reply.model


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_the_handler_learns_that_the_caller_gave_up(how):
    gone = threading.Event()

    def hold(calls: list[Call]) -> None:
        calls[0].when_gone(gone.set)

    with running(hold, grace=0.1) as server:
        call = server.stub.Predict.future(named("m"), timeout=0.3 if how == "deadline" else 20)
        if how == "cancelled":
            assert not gone.wait(0.2)
            call.cancel()
        assert gone.wait(10)
        assert call.code() in GIVEN_UP


def test_the_deadline_is_known():
    holding = Holding()
    with running(holding, grace=0.1) as server:
        begun = time.time()
        calls = [
            server.stub.Predict.future(named("m"), timeout=7),
            server.stub.Predict.future(named("n")),
        ]
        until(lambda: 2 == len(holding.calls))
        deadlines = dict(zip(holding.names(), (one.deadline for one in holding.calls), strict=True))
        assert begun + 5 < deadlines["m"] < begun + 9
        assert deadlines["n"] > begun + 1e6
        assert not any(call.done() for call in calls)


def test_stopping_waits_for_calls_in_flight_and_cancels_what_takes_too_long():
    holding = Holding()
    server = Running(holding)
    quick = server.stub.Predict.future(named("quick"), timeout=20)
    slow = server.stub.Predict.future(named("slow"), timeout=20)
    until(lambda: 2 == len(holding.calls))
    selection = threading.Timer(
        0.3, lambda: echo([one for one in holding.calls if one.request().model == "quick"])
    )
    selection.start()
    server.stop(1.0)
    assert "quick" == quick.result().model
    assert slow.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    server.channel.close()


def test_calls_leave_nothing_behind():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with running(echo) as server, ThreadPoolExecutor(4) as pool:
        request = named("m", 16 * 1024)

        def calls(count: int) -> None:
            for _ in pool.map(lambda _: server.stub.Predict(request, timeout=20), range(count)):
                pass

        calls(500)
        before = resident()
        calls(2000)
        # One KiB kept of each call would be 2 MB, its request 32 MB.
        assert resident() - before < 8e6


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


def streamed(count: int) -> Iterator[pb.PredictStreamRequest]:
    return (pb.PredictStreamRequest(request=named(f"{i}")) for i in range(count))


def test_a_stream_is_answered_in_order_whatever_is_ready_first():
    holding = Holding()
    with running(holding) as server:
        replies = Replies(server.stub.PredictStream(streamed(5), timeout=20))
        until(lambda: 5 == len(holding.calls))
        for one in holding.calls[:0:-1]:
            answer(one)
        time.sleep(0.2)
        assert [] == replies.names
        holding.calls[0].fail(BadInput("no", reason="WRONG_FORM"))
        assert ["WRONG_FORM", "1", "2", "3", "4"] == replies.all()
        assert grpc.StatusCode.OK == replies.code


def test_streams_answered_from_several_threads_lose_nothing():
    with ThreadPoolExecutor(4) as pool:

        def handle(calls: list[Call]) -> None:
            for one in calls:
                pool.submit(answer, one)

        with running(handle) as server:
            streams = [
                Replies(server.stub.PredictStream(streamed(500), timeout=20)) for _ in range(4)
            ]
            for stream in streams:
                assert [f"{i}" for i in range(500)] == stream.all()


def test_no_more_of_a_stream_is_read_than_is_worked_on():
    holding = Holding()
    with running(holding) as server:
        replies = Replies(server.stub.PredictStream(streamed(2 * WINDOW), timeout=20))
        until(lambda: WINDOW == len(holding.calls))
        time.sleep(0.3)
        assert WINDOW == len(holding.calls)
        first, holding.calls = holding.calls, []
        echo(first)
        until(lambda: WINDOW == len(holding.calls))
        echo(holding.calls)
        assert [f"{i}" for i in range(2 * WINDOW)] == replies.all()


def test_a_stream_without_requests_ends_well():
    with running(echo) as server:
        replies = Replies(server.stub.PredictStream(iter(()), timeout=20))
        assert [] == replies.all()
        assert grpc.StatusCode.OK == replies.code


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_works_for_a_stream_learns_that_the_caller_gave_up(when):
    """Whether he asked to be told before it happened or after."""
    holding = Holding()
    gone = threading.Event()
    with running(holding, grace=0.1) as server:
        call = server.stub.PredictStream(streamed(1), timeout=20)
        until(lambda: 1 == len(holding.calls))
        if when == "before":
            holding.calls[0].when_gone(gone.set)
            call.cancel()
        else:
            call.cancel()
            time.sleep(0.3)
            holding.calls[0].when_gone(gone.set)
        assert gone.wait(10)
