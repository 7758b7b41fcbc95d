"""What a transport does as a whole: batches, draining, slow peers, health and reflection."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.api import health as health_service
from pushserve_server.api import reflection
from pushserve_server.api.servicer_methods import methods_of
from pushserve_server.api.transport.call import Call
from pushserve_server.settings import Settings
from tests.fixtures.http2 import HEADERS, Peer, grpc_frame
from tests.fixtures.served import BIN, until
from tests.fixtures.transports import (
    LIMIT,
    SERVICE,
    TRANSPORTS,
    Holding,
    Running,
    answer,
    echo,
    name_of,
    named,
    running,
    streamed,
)

transports = pytest.mark.parametrize("transport", TRANSPORTS)
PREDICT = f"/{SERVICE}/Predict"


def test_what_comes_while_the_handler_is_busy_comes_together():
    """By the core; grpc.aio hands over one call at a time."""
    batches: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def handle(calls: list[Call]) -> None:
        batches.append(len(calls))
        begun.set()
        assert go_on.wait(20)
        echo(calls)

    with running("core", handle) as server:
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

    with running("core", handle, max_streams=5000) as server:
        calls = [server.stub.Predict.future(named("first"), timeout=20)]
        assert begun.wait(20)
        calls += [server.stub.Predict.future(named(f"{i}"), timeout=20) for i in range(4000)]
        time.sleep(0.5)
        go_on.set()
        assert ["first", *map(str, range(4000))] == [call.result().model for call in calls]


@transports
def test_a_handler_that_raises_does_not_stop_the_transport(transport):
    times = []

    def once(calls: list[Call]) -> None:
        times.append(1)
        if len(times) == 1:
            raise ValueError("a defect")
        echo(calls)

    with running(transport, once) as server:
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Predict(named("lost"), timeout=20)
        assert grpc.StatusCode.INTERNAL is caught.value.code()
        assert "defect" not in caught.value.details()
        assert "next" == server.stub.Predict(named("next"), timeout=20).model


@transports
def test_only_the_first_answer_counts(transport):
    def twice(calls: list[Call]) -> None:
        for one in calls:
            answer(one)
            one.fail(ValueError("too late"))

    with running(transport, twice) as server:
        stream = server.stub.PredictStream(streamed("a", "b"), timeout=20)
        assert "m" == server.stub.Predict(named("m"), timeout=20).model
        assert ["a", "b"] == [reply.response.model for reply in stream]


@transports
def test_stopping_waits_for_calls_in_flight_and_cancels_what_takes_too_long(transport):
    holding = Holding()
    server = Running(transport, holding)
    quick = server.stub.Predict.future(named("quick"), timeout=20)
    slow = server.stub.Predict.future(named("slow"), timeout=20)
    until(lambda: 2 == len(holding.calls))
    late = threading.Timer(0.3, lambda: echo([c for c in holding.calls if name_of(c) == "quick"]))
    late.start()
    server.stop(1.0)
    assert "quick" == quick.result().model
    assert slow.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    server.channel.close()


@transports
def test_a_drain_under_64_callers_loses_no_call(transport):
    """Each call is answered, or refused as UNAVAILABLE, which says that it was not begun."""
    begun: set[str] = set()

    def handle(calls: list[Call]) -> None:
        begun.update(map(name_of, calls))
        echo(calls)

    server = Running(transport, handle)
    stop = threading.Event()
    lost: list[tuple[str, grpc.StatusCode]] = []
    answered: list[str] = []

    def call_on(caller: int) -> None:
        with grpc.insecure_channel(server.address) as channel:
            predict = channel.unary_unary(
                PREDICT,
                request_serializer=pb.PredictRequest.SerializeToString,
                response_deserializer=pb.PredictResponse.FromString,
            )
            for i in range(10_000):
                if stop.is_set():
                    return
                name = f"{caller}-{i}"
                try:
                    answered.append(predict(named(name), timeout=20).model)
                except grpc.RpcError as error:
                    status = rpc_status.from_call(error)  # None: the connection had ended
                    refused = status is None or b"SERVER_STOPPING" in status.SerializeToString()
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or name in begun:
                        lost.append((name, error.code(), error.details(), name in begun))
                    elif not refused:
                        lost.append((name, error.code(), error.details(), False))
                    return

    with ThreadPoolExecutor(64) as pool:
        callers = [pool.submit(call_on, caller) for caller in range(64)]
        until(lambda: len(answered) > 500, 60)
        server.stop(10)
        stop.set()
        for caller in callers:
            caller.result()
    server.channel.close()
    assert [] == lost
    assert begun == set(answered)


@transports
def test_large_requests_beside_others_are_all_answered(transport):
    """Of calls and of streams, on two connections, and what waits when the server stops."""
    server = Running(transport, echo, Settings(max_request=8 * 2**20))
    options = [("grpc.use_local_subchannel_pool", 1)]
    stop = threading.Event()
    small: list[str] = []

    def call_on() -> None:
        while not stop.is_set():
            small.append(server.stub.Predict(named("small"), timeout=20).model)

    with ThreadPoolExecutor(1) as pool, grpc.insecure_channel(server.address, options) as channel:
        others = pool.submit(call_on)
        until(lambda: small)
        stub = pb_grpc.ModelServiceStub(channel)
        names = [f"{i}" for i in range(24)]
        calls = [stub.Predict.future(named(name, 2**21), timeout=30) for name in names]
        requests = (pb.PredictStreamRequest(request=named(name, 2**21)) for name in names)
        stream = stub.PredictStream(requests, timeout=30)
        assert names == [reply.response.model for reply in stream]
        assert names == [call.result().model for call in calls]
        late = [stub.Predict.future(named(name, 2**21), timeout=30) for name in names]
        assert "0" == late[0].result().model
        stop.set()
        others.result(20)
        server.stop(10)
        codes = {call.code() for call in late}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    server.channel.close()


def resident() -> int:
    """Give the bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_calls_leave_nothing_behind():
    with running("core") as server, ThreadPoolExecutor(4) as pool:
        request = named("m", 16 * 1024)

        def calls(count: int) -> None:
            for _ in pool.map(lambda _: server.stub.Predict(request, timeout=20), range(count)):
                pass

        calls(500)
        before = resident()
        calls(2000)
        # One KiB kept of each call would be 2 MB, its request 32 MB.
        assert resident() - before < 8e6


@transports
def test_requests_that_stall_are_ended_and_others_go_on(transport):
    """Peers that stop one byte short of the limit hold memory for a bounded time."""
    size = LIMIT - 64
    message = named("m", size).SerializeToString()
    with (
        running(transport, slow_peer_memory=3 * LIMIT, receive_timeout=30) as server,
        Peer(server.address) as peer,
    ):
        streams = [peer.call(PREDICT) for _ in range(8)]
        for stream in streams:
            peer.send(stream, grpc_frame(message)[:-1])
        codes = [peer.ended(stream)["grpc-status"] for stream in streams[:5]]
        assert [str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])] * 5 == codes
        assert "m" == server.stub.Predict(named("m"), timeout=20).model
        for stream in streams[5:]:  # those within the bound may still end
            peer.send(stream, message[-1:], end=True)
            assert "0" == peer.ended(stream)["grpc-status"]


@transports
def test_a_request_that_never_comes_is_ended_in_time(transport):
    with running(transport, receive_timeout=0.5) as server, Peer(server.address) as peer:
        ended = peer.ended(peer.call(PREDICT))
        assert str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0]) == ended["grpc-status"]
        until(lambda: 0 == server.pipeline.in_flight("predict"))


def test_answers_that_nobody_takes_are_dropped():
    """By the core; grpc.aio has no way to give one up."""
    big = b"\x12\x00" + b"x" * 200_000

    def handle(calls: list[Call]) -> None:
        for call in calls:
            call.reply(big)

    with (
        running("core", handle, slow_peer_memory=10**6, send_timeout=30) as server,
        Peer(server.address, window=0) as peer,
    ):
        streams = []
        for i in range(10):
            streams.append(peer.call(PREDICT))
            peer.send(streams[-1], grpc_frame(named(f"{i}").SerializeToString()), end=True)
        for stream in streams[:4]:
            assert "0" != peer.ended(stream).get("grpc-status")
        peer.h2.increment_flow_control_window(10**6)
        for stream in streams[6:]:
            peer.h2.increment_flow_control_window(300_000, stream)
            peer.flush()
            assert "0" == peer.ended(stream)["grpc-status"]


@transports
def test_a_connection_has_a_bounded_number_of_calls(transport):
    holding = Holding()
    with (
        running(transport, holding, max_streams=7, grace=0.1) as server,
        Peer(server.address) as peer,
    ):
        peer.until(lambda _: 7 == peer.h2.remote_settings.max_concurrent_streams)


@transports
def test_more_callers_than_a_connection_may_have_calls_wait_and_are_answered(transport):
    with running(transport, max_streams=10) as server, ThreadPoolExecutor(40) as pool:
        names = [f"{i}" for i in range(800)]
        replies = pool.map(lambda name: server.stub.Predict(named(name), timeout=20).model, names)
        assert names == list(replies)


@transports
def test_rapid_resets_cost_others_nothing(transport):
    """CVE-2023-44487: calls that are cancelled as soon as they are begun."""
    with running(transport) as server, Peer(server.address) as peer:
        before = resident()
        for _ in range(150):
            for _ in range(50):
                stream = peer.h2.get_next_available_stream_id()
                peer.h2.send_headers(stream, [*HEADERS, (":path", PREDICT)])
                peer.h2.reset_stream(stream, 8)
            peer.flush()
            assert "m" == server.stub.Predict(named("m"), timeout=20).model
        assert resident() - before < 100e6
        until(lambda: 0 == server.pipeline.in_flight("predict"))


@transports
def test_frequent_pings_on_an_idle_connection_are_borne(transport):
    """gRPC's own default sends a client away that pings more often than every 5 minutes."""
    with running(transport) as server, Peer(server.address) as peer:
        for _ in range(3):
            peer.h2.ping(b"12345678")
            peer.flush()
            peer.read(0.5)
        stream = peer.call(PREDICT)
        peer.send(stream, grpc_frame(named("m").SerializeToString()), end=True)
        assert "0" == peer.ended(stream)["grpc-status"]
        assert not peer.gone_away


@transports
def test_a_ping_flood_is_sent_away(transport):
    with running(transport) as server, Peer(server.address) as peer:
        for _ in range(200):
            if peer.gone_away:
                break
            peer.h2.ping(b"12345678")
            try:
                peer.flush()
            except ConnectionError:
                break
            peer.read(0.01)
        peer.until(lambda _: peer.gone_away)
        assert "m" == server.stub.Predict(named("m"), timeout=20).model


@transports
def test_replies_are_compressed_for_those_who_take_it(transport):
    with running(transport, compress_replies=True) as server, Peer(server.address) as peer:
        text = "m" * 20_000
        for accepted, expected in (("gzip", "gzip"), ("identity", None)):
            stream = peer.call(PREDICT, ("grpc-accept-encoding", accepted))
            peer.send(stream, grpc_frame(named(text).SerializeToString()), end=True)
            ended = peer.ended(stream)
            assert ("0", expected) == (ended["grpc-status"], ended.get("grpc-encoding"))
        lengths = [
            sum(len(e.data) for e in peer.events if getattr(e, "data", None) and e.stream_id == s)
            for s in (1, 3)
        ]
        assert lengths[0] < 500
        assert lengths[1] > 20_000


def health(server: Running) -> health_pb2_grpc.HealthStub:
    server.run(_add_services(server))
    return health_pb2_grpc.HealthStub(server.channel)


async def _add_services(server: Running) -> None:
    server.pipeline.add(methods_of(server.health, health_service.SERVICE, "probes", "probes"))
    for version in reflection.SERVICES:
        names = ["pushserve.v1.ModelService", "grpc.health.v1.Health", version.full_name]
        servicer = reflection.Reflection(version, lambda names=names: names)
        server.pipeline.add(methods_of(servicer, version, "probes", "probes"))


SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


@transports
def test_health_is_told_of_the_server_its_services_and_its_models(transport):
    with running(transport) as server:
        stub = health(server)

        def check(name: str) -> int:
            request = health_pb2.HealthCheckRequest(service=name)
            return stub.Check(request, timeout=20).status

        assert [SERVING, SERVING, SERVING, NOT_SERVING] == [
            check(name) for name in ("", SERVICE, "iris", "rose")
        ]
        with pytest.raises(grpc.RpcError) as caught:
            check("nobody")
        assert grpc.StatusCode.NOT_FOUND is caught.value.code()
        listed = stub.List(health_pb2.HealthListRequest(), timeout=20).statuses
        assert {"": SERVING, SERVICE: SERVING, "iris": SERVING, "rose": NOT_SERVING} == {
            name: status.status for name, status in listed.items()
        }


@transports
def test_health_is_watched(transport):
    with running(transport, grace=0.2) as server:
        stub = health(server)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="tulip"), timeout=30)
        assert UNKNOWN == next(watch).status
        for shown, expected in (({"tulip": True}, SERVING), ({"tulip": None}, UNKNOWN)):
            server.loop.call_soon_threadsafe(server.health.show, shown)
            assert expected == next(watch).status
        server.loop.call_soon_threadsafe(server.health.show, {"tulip": True})
        assert SERVING == next(watch).status
        server.loop.call_soon_threadsafe(server.health.drain)
        assert NOT_SERVING == next(watch).status
        assert [] == list(watch)
        until(lambda: 0 == server.pipeline.in_flight("probes"))


@transports
@pytest.mark.parametrize("client", ["grpcurl", "buf"])
def test_reflection_by_two_clients(transport, client):
    """grpcurl asks v1alpha alone; buf asks v1 first."""
    with running(transport) as server:
        health(server)

        def run(*arguments: str) -> str:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=60, check=False
            )
            assert 0 == done.returncode, done.stderr
            return done.stdout

        if client == "grpcurl":
            grpcurl = str(BIN / "grpcurl")
            assert SERVICE in run(grpcurl, "-plaintext", server.address, "list")
            method = run(grpcurl, "-plaintext", server.address, "describe", f"{SERVICE}.Predict")
            assert "rpc Predict ( .pushserve.v1.PredictRequest )" in method
            said = run(
                grpcurl, "-plaintext", "-d", '{"name_prefix": "ir"}', server.address,
                f"{SERVICE}/List",
            )  # fmt: skip
        else:
            said = run(
                str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge",
                "-d", '{"name_prefix": "ir"}', f"http://{server.address}/{SERVICE}/List",
            )  # fmt: skip
        assert ["ir"] == list(json.loads(said).values())
