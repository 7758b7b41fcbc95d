"""Tokens on the port: every method of every service, by both transports and real clients."""

import asyncio
import queue
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.access.guard import Guard
from pushserve_server.access.method_rules import METHOD_RULES
from pushserve_server.api.call_pipeline import Pipeline
from pushserve_server.api.predict_dispatch import PredictDispatcher
from pushserve_server.api.server import make_health, make_pipeline
from pushserve_server.api.servicer import ModelService
from pushserve_server.api.transport.call import Method
from pushserve_server.settings import Settings
from tests.fixtures.http2 import Peer
from tests.fixtures.tokens import bearer, make
from tests.fixtures.transports import RPCS, SERVICE, TRANSPORTS, named, running, streamed


def whole_pipeline() -> Pipeline:
    """Make what a frontend makes, with nothing behind it."""

    async def build() -> Pipeline:
        store = SimpleNamespace()
        settings = Settings(require_tokens=True)
        return make_pipeline(
            settings,
            ModelService(settings, store),
            PredictDispatcher(SimpleNamespace()),
            make_health(),
            Guard(required=True),
        )

    return asyncio.run(build())


def test_every_method_of_every_service_stands_in_the_table():
    served = set()
    pipeline = whole_pipeline()
    for name in pipeline.names():
        method = pipeline.method(name)
        served |= {one.name for one in (method, method and method.items) if one is not None}
    assert served == set(METHOD_RULES)
    assert {"pushserve.v1.ModelService", "grpc.health.v1.Health"} <= {
        name.split("/")[1] for name in served
    }


def test_a_method_that_stands_in_no_row_is_not_served():
    async def add() -> None:
        pipeline = Pipeline({"predict": 1}, Guard(required=False))
        pipeline.add([Method("/pushserve.v1.ModelService/New", "predict")])

    with pytest.raises(KeyError, match="New"):
        asyncio.run(add())


def reason_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return error.code(), info.reason


def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason_of(caught.value)


UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
def guard():
    return Guard(required=True, opened=("health",))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_each_kind_of_call_needs_its_token(transport, rpc, guard):
    text, kept = make("admin")
    little, kept_little = make("read" if rpc.path == "predict" else "predict")
    guard.follow([kept, kept_little])
    with running(transport, guard=guard) as server:
        for metadata, wanted in (
            ((), (UNAUTHENTICATED, "TOKEN_MISSING")),
            (bearer("psv_x"), (UNAUTHENTICATED, "TOKEN_UNKNOWN")),
            (bearer(little), (DENIED, "SCOPE_MISSING")),
        ):
            assert wanted == refused(lambda m=metadata: rpc.ask(server.stub, "iris", metadata=m))
        assert "iris" == rpc.ask(server.stub, "iris", metadata=bearer(text))[0]
        guard.follow([kept_little])
        assert (UNAUTHENTICATED, "TOKEN_UNKNOWN") == refused(
            lambda: rpc.ask(server.stub, "iris", metadata=bearer(text))
        )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_method_on_the_wire_asks_for_a_token(transport, guard):
    """By their names and bytes alone, as somebody would who looks for a way in."""
    whole = whole_pipeline()
    with running(transport, guard=guard) as server:
        server.pipeline._methods |= whole._methods
        for name in whole.names():
            if guard.rule(name).opening == "health":
                continue
            call = server.channel.stream_stream(name)
            assert (UNAUTHENTICATED, "TOKEN_MISSING") == refused(
                lambda call=call: list(call(iter([b""]), timeout=20))
            ), name


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_revoked_token_ends_a_stream_at_its_next_request(transport, guard):
    text, kept = make("predict")
    guard.follow([kept])
    with running(transport, guard=guard) as server:
        requests = queue.Queue()
        sent = iter(requests.get, None)
        replies = server.stub.PredictStream(sent, metadata=bearer(text), timeout=20)
        requests.put(next(streamed("a")))
        assert "a" == next(replies).response.model
        guard.follow([])
        requests.put(next(streamed("b")))
        last = next(replies)
        requests.put(None)
        assert ("TOKEN_UNKNOWN", UNAUTHENTICATED.value[0]) == (last.error.reason, last.error.code)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_health_is_open_and_its_list_is_not(transport, guard):
    with running(transport, guard=guard, all_services=True) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch)
        watch.cancel()
        assert (UNAUTHENTICATED, "TOKEN_MISSING") == refused(
            lambda: stub.List(health_pb2.HealthListRequest(), timeout=20)
        )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_flood_without_tokens_takes_no_place_from_others(transport, guard):
    """Who is not let in counts towards no limit."""
    text, kept = make("predict")
    guard.follow([kept])
    with running(transport, guard=guard, groups={"predict": 1}) as server:
        calls = [server.stub.Predict.future(named("x"), timeout=20) for _ in range(200)]
        for _ in range(20):
            assert (
                "iris"
                == server.stub.Predict(named("iris"), metadata=bearer(text), timeout=20).model
            )
        assert {UNAUTHENTICATED} == {call.exception().code() for call in calls}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_for_some_models_sees_no_others(transport, guard):
    text, kept = make("read", "deploy", models=("iris",))
    guard.follow([kept])
    with running(transport, guard=guard) as server:
        denied = (DENIED, "MODEL_NOT_ALLOWED")
        stub, metadata = server.stub, bearer(text)

        def register(model: str):
            request = pb.RegisterRequest(source="s", model=model)
            return stub.Register(request, metadata=metadata, timeout=20)

        assert register("iris")
        assert denied == refused(lambda: register("rose"))
        assert denied == refused(lambda: register(""))
        watch = stub.WatchDeployment(
            pb.WatchDeploymentRequest(name="d"), metadata=metadata, timeout=20
        )
        assert denied == refused(lambda: list(watch))  # its deployments name no model


@pytest.mark.parametrize("path", ["Predict", "PredictStream", "Register"])
def test_strangers_are_refused_before_they_have_sent_anything(guard, path):
    """By the core; grpc.aio has read the request before anybody is asked."""
    with running("core", guard=guard) as server, Peer(server.address) as peer:
        stream = peer.call(f"/{SERVICE}/{path}")  # and not a byte of a request
        assert str(UNAUTHENTICATED.value[0]) == peer.ended(stream)["grpc-status"]
