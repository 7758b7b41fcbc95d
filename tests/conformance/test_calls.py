"""Every transport carries every method alike: a real server, and gRPC's own client."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.api.transport.call import Call
from pushserve_server.errors import (
    AlreadyExists,
    BadInput,
    DeadlineExceeded,
    ModelFailed,
    NotFound,
    NotPossibleNow,
    Overloaded,
    PushserveError,
    SourceRefused,
    Unavailable,
    Violation,
)
from tests.fixtures.served import until
from tests.fixtures.transports import (
    LIMIT,
    RPCS,
    SERVICE,
    TRANSPORTS,
    Holding,
    Rpc,
    name_of,
    running,
)

GIVEN_UP = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)

transports = pytest.mark.parametrize("transport", TRANSPORTS)
rpcs = pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)

ERRORS = {  # from google.rpc.Code's own documentation of each
    BadInput("it is wrong: ünlike", [Violation("age", "no")]): grpc.StatusCode.INVALID_ARGUMENT,
    NotFound("model", "iris", "no such model"): grpc.StatusCode.NOT_FOUND,
    AlreadyExists("taken"): grpc.StatusCode.ALREADY_EXISTS,
    NotPossibleNow("not now"): grpc.StatusCode.FAILED_PRECONDITION,
    SourceRefused("not listed"): grpc.StatusCode.PERMISSION_DENIED,
    Overloaded("too much", 0.25): grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable("away", 1.5): grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded("late"): grpc.StatusCode.DEADLINE_EXCEEDED,
    ModelFailed("it raised"): grpc.StatusCode.INTERNAL,
    ValueError("a secret of the server"): grpc.StatusCode.INTERNAL,
}


def failing(error: Exception):
    def handle(calls: list[Call]) -> None:
        for call in calls:
            call.fail(error)

    return handle


def unpacked(details, kind):
    """Give the details of a kind."""
    found = []
    for detail in details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def failure_of(rpc: Rpc, stub, **options):
    """Call, and give code, message and details of what went wrong, in the stream or by status."""
    try:
        call = rpc.start(stub, "m", **{"timeout": 20, **options})
        if not rpc.streams:
            call.result()
        (reply,) = call
    except grpc.RpcError as error:
        caught = error
    else:
        error = reply.error
        codes = {code.value[0]: code for code in grpc.StatusCode}
        return codes[error.code], error.message, error.details
    details = dict(caught.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert (caught.code().value[0], caught.details()) == (status.code, status.message)
    return caught.code(), caught.details(), status.details


@transports
@rpcs
def test_each_call_gets_its_own_answer(transport, rpc):
    with running(transport) as server, ThreadPoolExecutor(8) as pool:
        names = [f"m{i}" for i in range(100)]
        replies = pool.map(lambda name: rpc.ask(server.stub, name)[0], names)
        assert names == list(replies)


@transports
@rpcs
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_has_its_code_text_and_details(transport, rpc, error):
    with running(transport, failing(error)) as server:
        server.servicer.error = error
        code, message, details = failure_of(rpc, server.stub, metadata=(("x-request-id", "r-7"),))
    assert ERRORS[error] is code
    if not isinstance(error, PushserveError):
        assert "secret" not in message
        assert ["INTERNAL"] == [i.reason for i in unpacked(details, error_details_pb2.ErrorInfo)]
        return
    assert str(error) == message
    (info,) = unpacked(details, error_details_pb2.ErrorInfo)
    assert ("pushserve", error.code_reason) == (info.domain, info.reason)
    assert ["r-7"] == [r.request_id for r in unpacked(details, error_details_pb2.RequestInfo)]
    retries = [r.retry_delay.ToTimedelta() for r in unpacked(details, error_details_pb2.RetryInfo)]
    expected = [error.retry_after] if isinstance(error, Overloaded | Unavailable) else []
    assert expected == [delay.total_seconds() for delay in retries]
    resources = unpacked(details, error_details_pb2.ResourceInfo)
    assert ["iris"] * isinstance(error, NotFound) == [r.resource_name for r in resources]
    fields = [v.field for b in unpacked(details, error_details_pb2.BadRequest)
              for v in b.field_violations]  # fmt: skip
    assert ["age"] * isinstance(error, BadInput) == fields


@transports
@rpcs
def test_details_fit_into_what_clients_take(transport, rpc):
    """8 KiB of metadata is the limit of most clients, gRPC's own among them."""
    name = "größe " * 1000
    error = BadInput("列が違います " * 2000, [Violation(name, name) for _ in range(500)])
    with running(transport, failing(error)) as server:
        server.servicer.error = error
        code, message, details = failure_of(rpc, server.stub)
    assert grpc.StatusCode.INVALID_ARGUMENT is code
    assert message.startswith("列が違います")
    (bad,) = unpacked(details, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field.startswith("größe")
    assert 1 == len(unpacked(details, error_details_pb2.ErrorInfo))


@transports
@rpcs
def test_a_lone_surrogate_in_an_error_is_answered(transport, rpc):
    error = BadInput("bad \ud800", [Violation("\ud800", "\udfff")])
    with running(transport, failing(error)) as server:
        server.servicer.error = error
        code, message, _ = failure_of(rpc, server.stub)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "bad ?") == (code, message)


@transports
@rpcs
def test_a_request_id_is_sent_back_and_made_where_there_is_none(transport, rpc):
    with running(transport) as server:
        given = (("x-request-id", "order-66"), ("other", "value"))
        assert "order-66" == rpc.ask(server.stub, "m", metadata=given)[1]["x-request-id"]
        made = {rpc.ask(server.stub, "m")[1]["x-request-id"] for _ in range(20)}
        assert 20 == len(made)
        for unfit in ("x" * 129, "with space"):
            back = rpc.ask(server.stub, "m", metadata=(("x-request-id", unfit),))[1]
            assert unfit != back["x-request-id"]
            assert 0 < len(back["x-request-id"]) < 40


@transports
@rpcs
def test_metadata_and_peer_reach_whoever_answers(transport, rpc):
    holding = Holding()
    with running(transport, holding, grace=0.1) as server:
        server.servicer.hold = asyncio.Event()
        given = (("a", "b"), ("a", "c"), ("raw-bin", b"\0\xff"))
        call = rpc.start(server.stub, "m", timeout=20, metadata=given)
        seen = holding.calls if rpc.path == "predict" else server.servicer.calls
        until(lambda: 1 == len(seen))
        metadata = [(key, value) for key, value in seen[0].metadata if key in ("a", "raw-bin")]
        assert sorted(given) == sorted(metadata)
        assert seen[0].peer.startswith("ipv4:127.0.0.1:")
        call.cancel()


@transports
@rpcs
def test_a_request_over_the_limit_is_refused_and_others_go_on(transport, rpc):
    with running(transport) as server:
        with pytest.raises(grpc.RpcError) as caught:
            rpc.ask(server.stub, "m" * (LIMIT + 1))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        fits = "m" * (LIMIT // 2)
        assert fits == rpc.ask(server.stub, fits)[0]


@transports
@rpcs
def test_a_call_without_a_request_is_told_so(transport, rpc):
    with running(transport) as server:
        if rpc.streams:
            assert [] == list(server.stub.PredictStream(iter(()), timeout=20))
            return
        call = server.channel.stream_unary(f"/{SERVICE}/{rpc.name}")
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


@transports
@rpcs
def test_bytes_that_are_no_request_are_an_error_of_the_caller(transport, rpc):
    def handle(calls: list[Call]) -> None:
        for call in calls:
            try:
                name_of(call)
            except BadInput as error:
                call.fail(error)

    with running(transport, handle) as server:
        if rpc.streams:
            stream = server.channel.stream_stream(
                f"/{SERVICE}/PredictStream",
                response_deserializer=pb.PredictStreamResponse.FromString,
            )
            (reply,) = stream(iter([b"\xff\xff\xff"]), timeout=20)
            assert grpc.StatusCode.INVALID_ARGUMENT.value[0] == reply.error.code
            return
        call = server.channel.unary_unary(f"/{SERVICE}/{rpc.name}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


@transports
def test_a_method_that_there_is_not_says_so(transport):
    with running(transport) as server:
        for path in ("/pushserve.v1.ModelService/Nothing", "/no.Such/Method"):
            with pytest.raises(grpc.RpcError) as caught:
                server.channel.unary_unary(path)(b"", timeout=20)
            assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()
            assert path in caught.value.details()
            details = dict(caught.value.trailing_metadata())
            assert b"UNIMPLEMENTED" in details["grpc-status-details-bin"]


@transports
@rpcs
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_compression_both_ways(transport, rpc, compress):
    """Compressed requests are read; replies are compressed for those who take it, if set so."""
    text = "m" * 20_000
    plain = [("grpc.compression_enabled_algorithms_bitset", 1)]
    with running(transport, compress_replies=compress) as server:
        assert text == rpc.ask(server.stub, text, compression=grpc.Compression.Gzip)[0]
        with grpc.insecure_channel(server.address, options=plain) as channel:
            assert text == rpc.ask(pb_grpc.ModelServiceStub(channel), text)[0]


@transports
@rpcs
@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_who_answers_learns_that_the_caller_gave_up(transport, rpc, how):
    holding = Holding()
    with running(transport, holding, grace=0.1) as server:
        server.servicer.hold = asyncio.Event()
        call = rpc.start(server.stub, "m", timeout=0.5 if how == "deadline" else 20)
        gone = server.servicer.cancelled
        if rpc.path == "predict":
            until(lambda: holding.calls)
            holding.calls[0].when_gone(gone.set)
        else:
            until(lambda: server.servicer.calls)
        if how == "cancelled":
            assert not gone.wait(0.2)
            call.cancel()
        assert gone.wait(10)
        assert call.code() in GIVEN_UP
        until(lambda: 0 == server.pipeline.in_flight("control"))


@transports
@rpcs
def test_the_deadline_is_known(transport, rpc):
    holding = Holding()
    with running(transport, holding, grace=0.1) as server:
        server.servicer.hold = asyncio.Event()
        seen = holding.calls if rpc.path == "predict" else server.servicer.calls
        begun = time.time()
        calls = [rpc.start(server.stub, "m", timeout=7)]
        until(lambda: 1 == len(seen))
        calls.append(rpc.start(server.stub, "n", timeout=None))
        until(lambda: 2 == len(seen))
        assert begun + 5 < seen[0].deadline < begun + 9
        assert seen[1].deadline > begun + 1e6
        for call in calls:
            call.cancel()


@transports
@rpcs
def test_more_calls_than_the_limit_are_refused_with_when_to_try_again(transport, rpc):
    holding = Holding()
    with running(transport, holding, grace=0.1, groups={"predict": 3, "control": 3}) as server:
        server.servicer.hold = asyncio.Event()
        seen = holding.calls if rpc.path == "predict" else server.servicer.calls
        held = [rpc.start(server.stub, f"{i}", timeout=20) for i in range(3)]
        until(lambda: 3 == len(seen))
        code, _, details = failure_of(rpc, server.stub)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is code
        (retry,) = unpacked(details, error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToTimedelta().total_seconds() > 0
        if rpc.path == "predict":
            for call in seen:
                call.fail(BadInput("done"))
        else:
            server.run(_set(server.servicer.hold))
        for call in held:
            call.exception() if not rpc.streams else list(call)
        until(lambda: 0 == server.pipeline.in_flight("predict"))
        until(lambda: 0 == server.pipeline.in_flight("control"))


async def _set(event: asyncio.Event) -> None:
    event.set()


@transports
@rpcs
def test_every_call_is_accounted_for(transport, rpc):
    """No method of any service passes the pipeline by."""
    error = BadInput("no")
    with running(transport) as server:
        for _ in range(5):
            rpc.ask(server.stub, "m")
        server.servicer.error = error
        server.handle = failing(error)
        failure_of(rpc, server.stub)
        until(lambda: 6 == sum(c.calls for (name, _), c in server.pipeline.counts().items()
                               if name == f"/{SERVICE}/{rpc.name}"))  # fmt: skip
        counts = server.pipeline.counts()
        path = f"/{SERVICE}/{rpc.name}"
        if rpc.streams:
            assert 6 == counts[path, 0].calls
            path += " (request)"
        assert (5, 1) == (counts[path, 0].calls, counts[path, 3].calls)
        assert counts[path, 0].response_bytes > 0
        assert counts[path, 0].seconds > 0
