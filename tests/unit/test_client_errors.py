"""Errors of the client: of one tree, with their cause, and whole after a trip between processes."""

import asyncio
import copy
import gc
import multiprocessing
import pickle

import grpc
import numpy as np
import pandas as pd
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import AsyncClient, Client, errors
from pushserve_client.from_messages import deployment_from_proto
from tests.fixtures.fake_service import FakeServer
from tests.fixtures.served import until


@pytest.fixture
def client(fake_server: FakeServer):
    with Client(fake_server.address, timeout=10) as client:
        yield client


def every_error() -> list[errors.ClientError]:
    """One of each class in the tree, with all its fields."""
    details = errors.Details(
        "REASON", (errors.FieldViolation("a", "b"),), errors.Resource("model", "iris"), 1.5
    )
    failure = pb.DeploymentError(reason="R", message="m", fix="f")
    deployment = deployment_from_proto(pb.Deployment(name="d", error=failure))
    made = []
    todo = [errors.ClientError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if issubclass(kind, errors.CallError):
            made.append(kind(grpc.StatusCode.NOT_FOUND, "text", details))
        elif issubclass(kind, errors.DeploymentFailed):
            made.append(kind(deployment))
        else:
            has_text = kind not in (errors.ClientClosed, errors.WrongEventLoop)
            made.append(kind("text") if has_text else kind())
    return made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_errors_come_through_pickle_whole(error, protocol):
    error.__cause__ = OverflowError("the cause")

    back = pickle.loads(pickle.dumps(error, protocol))

    assert (type(error), str(error), vars(error)) == (type(back), str(back), vars(back))
    assert (OverflowError, ("the cause",)) == (type(back.__cause__), back.__cause__.args)
    assert str(error) == str(copy.copy(error))


def test_a_cause_with_locks_leaves_its_text(client):
    """What gRPC raises cannot be pickled."""
    with pytest.raises(errors.NotFound) as caught:
        client.get("nothing")
    assert isinstance(caught.value.__cause__, grpc.RpcError)

    back = pickle.loads(pickle.dumps(caught.value))

    assert (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND") == (back.code, back.reason)
    assert errors.Resource("model", "nothing") == back.resource
    assert "there is no model 'nothing'" in str(back.__cause__)


def test_a_cause_that_only_here_is_known_leaves_its_text():
    class Local(Exception):
        pass

    class Awkward(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    for cause, text in ((Local("x"), "Local: x"), (Awkward(1, 2), "Awkward: 1 and 2")):
        error = errors.BadData("text")
        error.__cause__ = cause
        assert text == str(pickle.loads(pickle.dumps(error)).__cause__)


def test_an_error_comes_out_of_a_pool(client):
    """A pool that cannot unpickle an error waits for ever. The client goes in by pickle, too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(Client.get, (client, "nothing"))
        with pytest.raises(errors.NotFound) as caught:
            result.get(timeout=60)

    assert "MODEL_NOT_FOUND" == caught.value.reason


def test_a_pickled_client_connects_anew(fake_server):
    with Client(fake_server.address, timeout=7, retry=False) as client:
        with pickle.loads(pickle.dumps(client)) as again, copy.deepcopy(client) as third:
            assert 2 == again.get("iris").version.number
            assert 2 == third.get("iris").version.number
            assert client.__reduce__()[0].keywords == again.__reduce__()[0].keywords
        assert 2 == client.get("iris").version.number


def test_clients_that_cannot_be_pickled_say_so():
    async def made():
        return AsyncClient("127.0.0.1:1")

    secure = Client("localhost:1", credentials=grpc.ssl_channel_credentials())
    for client, word in ((asyncio.run(made()), "event loop"), (secure, "credentials")):
        with pytest.raises(errors.NotPicklable, match=f"{word}.*make one in each process"):
            pickle.dumps(client)
    secure.close()


def nested(kind: str, levels: int):
    value = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


def itself():
    row = {"a": []}
    row["a"].append(row["a"])
    return row


BAD_DATA = {
    "no axes": np.array(5),
    "no axes in a list": [np.array(5)],
    "surrogate": [{"a": "\ud800"}],
    "surrogate in a column": {"a": ["\ud800"]},
    "surrogate in a frame": pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}),
    "surrogate as a name": {"\ud800": [1]},
    "surrogate as a field": [{"\ud800": 1}],
    "surrogate inside": [{"a": [{"b": "\udfff"}]}],
    "huge": [{"a": 10**400}],
    "huge in a column": {"a": [10**400]},
    "huge among floats": {"a": [10**400, 0.5]},
    "huge in a list": [[10**400]],
    "huge in a list of floats": [[10**400, 0.5]],
    "5,000 digits": {"a": [10**5000]},
    "200 lists": [{"a": nested("list", 200)}],
    "200 objects": [{"a": nested("dict", 200)}],
    "5,000 lists": [{"a": nested("list", 5000)}],
    "within itself": [itself()],
    "a set": [{1, 2}],
    "an object": object(),
    "None": None,
    "a function": print,
    "a number": 5,
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_what_cannot_be_sent_is_bad_data(client, fake_server, name):
    with pytest.raises(errors.BadData):
        client.predict("iris", BAD_DATA[name])
    assert [] == fake_server.service.requests


@pytest.mark.parametrize(("kind", "levels"), [("list", 46), ("dict", 30)])
def test_what_is_sent_can_be_read(client, kind, levels):
    """The deepest that is let through arrives, in a stream as well."""
    row = {"a": nested(kind, levels)}

    assert (row,) == client.predict("echo", [row]).rows
    assert [(row,)] == [one.rows for one in client.predict_stream("echo", [[row]])]
    with pytest.raises(errors.BadData, match="nested too deeply"):
        client.predict("echo", [{"a": nested(kind, levels + 2)}])


class Stubborn:
    """An array that fails in its own way."""

    def __array__(self, dtype=None, copy=None):
        raise ZeroDivisionError("no array today")


def test_what_a_caller_s_object_raises_is_the_cause(client):
    with pytest.raises(errors.BadData, match="ZeroDivisionError: no array today") as caught:
        client.predict("iris", Stubborn())

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


ROW = [[1.0]]
BAD_ARGUMENTS = {
    "version as text": (lambda c: c.predict("iris", ROW, version="1"), "version: .*'1'"),
    "negative version": (lambda c: c.get("iris", version=-1), "version: .*-1"),
    "large version": (lambda c: c.get("iris", version=2**40), "version"),
    "half a version": (lambda c: c.pin("iris", version=1.5), "version: .*1.5"),
    "model as a number": (lambda c: c.predict(5, ROW), "model: expected text, got 5"),
    "model as bytes": (lambda c: c.get(b"\xff"), "model"),
    "surrogate model": (lambda c: c.predict("\ud800", ROW), "model"),
    "ref as a number": (lambda c: c.predict("iris", ROW, ref=5), "ref: expected text"),
    "commit as a number": (lambda c: c.get("iris", commit=5), "commit: expected text"),
    "outputs as a number": (lambda c: c.predict("iris", ROW, outputs=5), "outputs"),
    "outputs of numbers": (lambda c: c.predict("iris", ROW, outputs=[5]), "outputs"),
    "timeout as text": (lambda c: c.predict("iris", ROW, timeout="5"), "timeout: .*'5'"),
    "timeout NaN": (lambda c: c.predict("iris", ROW, timeout=float("nan")), "timeout"),
    "negative timeout": (lambda c: c.predict("iris", ROW, timeout=-1), "timeout"),
    "two targets": (lambda c: c.pin("iris", version=1, commit="c"), "one of version, commit"),
    "page size": (lambda c: list(c.list(page_size="x")), "page_size"),
    "prefix": (lambda c: list(c.list(5)), "name_prefix"),
    "state": (lambda c: list(c.deployments(state="DONE")), "state: .*READY.*'DONE'"),
    "deployment": (lambda c: c.get_deployment(5), "name: expected text"),
    "watch": (lambda c: list(c.watch(None, timeout="x")), "timeout"),
    "source": (lambda c: c.register(5), "source: expected text"),
    "delete": (lambda c: c.delete("iris", ref=5), "ref: expected text"),
    "service": (lambda c: c.is_serving(5), "service"),
    "stream of nothing": (lambda c: list(c.predict_stream("iris", 5)), "inputs: .*iterable"),
    "stream of a frame": (
        lambda c: list(c.predict_stream("iris", pd.DataFrame({"a": [1]}))),
        r"inputs: .*\[inputs\]",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_a_wrong_argument_is_named(client, fake_server, name):
    """As an error of the tree that is a ValueError as well."""
    call, message = BAD_ARGUMENTS[name]

    with pytest.raises(errors.BadArgument, match=message) as caught:
        call(client)

    assert isinstance(caught.value, ValueError)
    assert [] == fake_server.service.requests


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("http://127.0.0.1:50051", "'127.0.0.1:50051'"),
        ("https://models.example.org:443/", "'models.example.org:443'"),
        ("grpc://models.example.org", "'models.example.org' with its port"),
        ("", "host:port"),
        (5, "host:port"),
    ],
)
def test_a_target_that_is_no_address(target, address):
    with pytest.raises(errors.BadArgument, match=address):
        Client(target)


def test_an_output_s_name_alone(client, fake_server):
    client.predict("iris", ROW, outputs="label")

    assert ["label"] == list(fake_server.service.requests[-1].outputs)


CALLS = {
    "predict": lambda c: c.predict("iris", ROW),
    "get": lambda c: c.get("iris"),
    "list": lambda c: list(c.list()),
    "stream": lambda c: list(c.predict_stream("iris", [ROW])),
    "watch": lambda c: list(c.watch("d")),
    "serving": lambda c: c.is_serving(),
    "names": lambda c: c.predict("iris", ["text"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_client_says_so(fake_server, name):
    client = Client(fake_server.address)
    client.close()
    client.close()

    with pytest.raises(errors.ClientClosed, match="closed"):
        CALLS[name](client)


@pytest.mark.parametrize("name", ["predict", "stream", "watch", "list"])
def test_a_closed_async_client_says_so(fake_server, name):
    async def story():
        client = AsyncClient(fake_server.address)
        await client.close()
        called = {
            "predict": lambda: client.predict("iris", ROW),
            "stream": lambda: anext(client.predict_stream("iris", [ROW])),
            "watch": lambda: anext(client.watch("d")),
            "list": lambda: anext(client.list()),
        }
        with pytest.raises(errors.ClientClosed, match="closed"):
            await asyncio.wait_for(called[name](), timeout=20)

    asyncio.run(story())


def test_closing_ends_calls_in_flight(fake_server):
    """With an error of the tree, not with a bare CancelledError."""

    async def story():
        client = AsyncClient(fake_server.address, timeout=20)
        fake_server.service.hang.clear()
        call = asyncio.create_task(client.predict("iris", ROW))
        await asyncio.to_thread(until, lambda: fake_server.service.requests)
        await client.close()
        with pytest.raises(errors.Cancelled):
            await asyncio.wait_for(call, timeout=20)

    asyncio.run(story())


def test_a_cancelled_task_is_cancelled(fake_server):
    """What asyncio cancels stays asyncio's."""

    async def story():
        async with AsyncClient(fake_server.address, timeout=20) as client:
            fake_server.service.hang.clear()
            call = asyncio.create_task(client.predict("iris", ROW))
            await asyncio.to_thread(until, lambda: fake_server.service.requests)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            fake_server.service.hang.set()

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore:coroutine 'UnaryUnaryCall._invoke' was never awaited")
def test_another_event_loop_is_told(fake_server):
    """A client that outlives its asyncio.run."""

    async def made():
        return AsyncClient(fake_server.address, timeout=10)

    async def used(client):
        await asyncio.wait_for(client.get("iris"), timeout=20)

    client = asyncio.run(made())
    with pytest.raises(errors.WrongEventLoop, match="inside the async function"):
        asyncio.run(used(client))
    del client
    gc.collect()
