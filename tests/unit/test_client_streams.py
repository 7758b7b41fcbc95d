"""Streams of predictions: what the caller's own iterator raises is his to catch."""

import asyncio

import pytest

from pushserve_client import AsyncClient, BadData, Client, errors
from pushserve_client.prediction import Prediction

ROW = [[5.0]]


class OutOfRows(Exception):
    pass


def endless(error):
    yield ROW
    yield ROW
    raise error


async def async_endless(error):
    for one in endless(error):
        await asyncio.sleep(0)
        yield one


def blocking(server, inputs) -> tuple[list, Exception | None]:
    outcomes = []
    with Client(server.address, timeout=10) as client:
        try:
            outcomes.extend(client.predict_stream("iris", inputs, timeout=20))
        except Exception as error:  # noqa: BLE001 -- the test looks at it
            return outcomes, error
    return outcomes, None


def on_a_loop(server, inputs) -> tuple[list, Exception | None]:
    outcomes = []

    async def story():
        async with AsyncClient(server.address, timeout=10) as client:
            async for one in client.predict_stream("iris", inputs, timeout=20):
                outcomes.append(one)  # noqa: PERF401 -- those before an error count, too

    try:
        asyncio.run(asyncio.wait_for(story(), timeout=30))
    except Exception as error:  # noqa: BLE001 -- the test looks at it
        return outcomes, error
    return outcomes, None


BOTH = pytest.mark.parametrize("call", [blocking, on_a_loop])


def labels(outcomes) -> list[str]:
    assert all(isinstance(one, Prediction) for one in outcomes)
    return [one.label[0] for one in outcomes]


@BOTH
@pytest.mark.parametrize("bad", ["x", [["a"]], None, [{"a": object()}], {"a": [b"x"]}])
def test_an_input_that_cannot_be_sent(fake_server, call, bad):
    """The answers to those before it come first."""
    outcomes, error = call(fake_server, [ROW, bad, ROW])

    assert ["big"] == labels(outcomes)
    assert isinstance(error, BadData)


@BOTH
@pytest.mark.parametrize("kind", [OutOfRows, KeyError, ValueError, StopAsyncIteration])
def test_an_iterator_that_fails(fake_server, call, kind):
    """The very exception that it raised."""
    own = kind("the caller's own")

    outcomes, error = call(fake_server, endless(own))

    assert ["big", "big"] == labels(outcomes)
    assert own is error or (own is error.__cause__ and isinstance(error, RuntimeError))


@BOTH
def test_an_iterator_that_fails_at_once(fake_server, call):
    def none():
        raise OutOfRows
        yield ROW

    outcomes, error = call(fake_server, none())

    assert ([], OutOfRows) == (outcomes, type(error))


def test_an_async_iterator(fake_server):
    """Answers, and its own exception."""
    own = OutOfRows("the caller's own")

    async def finite():
        yield ROW
        yield [[0.5]]

    assert (["big", "small"], None) == (
        labels(on_a_loop(fake_server, finite())[0]),
        on_a_loop(fake_server, finite())[1],
    )
    outcomes, error = on_a_loop(fake_server, async_endless(own))
    assert (["big", "big"], own) == (labels(outcomes), error)


def test_an_async_iterator_needs_the_async_client(fake_server):
    _, error = blocking(fake_server, async_endless(OutOfRows()))

    assert isinstance(error, errors.BadArgument)
    assert "AsyncClient" in str(error)


@BOTH
@pytest.mark.parametrize("inputs", [None, 5, "text", {"a": [1.0]}])
def test_what_is_no_stream(fake_server, call, inputs):
    """One input in place of many would be taken apart."""
    outcomes, error = call(fake_server, inputs)

    assert ([], errors.BadArgument) == (outcomes, type(error))


@BOTH
def test_a_refused_request_keeps_its_place(fake_server, call):
    """The server's refusals are outcomes; the stream goes on."""
    del fake_server.service.models["iris"]

    outcomes, error = call(fake_server, [ROW, ROW])

    assert None is error
    assert ["MODEL_NOT_FOUND"] * 2 == [one.reason for one in outcomes]


def test_a_reader_that_stops_gets_no_error(fake_server):
    """Whoever has enough is not told of what would have come."""
    with Client(fake_server.address, timeout=10) as client:
        stream = client.predict_stream("iris", endless(OutOfRows()))
        assert "big" == next(stream).label[0]
        stream.close()
