"""PredictStream: in order, each request on its own, no more read than is answered."""

import asyncio
import threading
import time

import numpy as np
import pandas as pd
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import AsyncClient, Client
from pushserve_client.errors import InvalidArgument
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, until


@pytest.fixture(scope="module")
def iris(served: Served, hub: GitHost) -> str:
    repo = hub.create("stream-iris")
    repo.commit({"model.joblib": models.dumped(models.iris_logistic())})
    return served.ready(repo.url, model="stream-iris").model


def request(model: str, row: list[float], **more) -> pb.PredictStreamRequest:
    tensor = pb.Tensor(shape=[1, 4], values=row)
    return pb.PredictStreamRequest(request=pb.PredictRequest(model=model, tensor=tensor, **more))


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 8, (count, 4))


def test_answers_come_in_the_order_of_the_requests(served: Served, iris: str):
    data = rows(500)
    replies = list(served.stub.PredictStream((request(iris, row) for row in data), timeout=60))
    got = [list(reply.response.outputs[1].doubles.values) for reply in replies]
    frame = models.iris_frame()
    expected = models.iris_logistic().predict_proba(pd.DataFrame(data, columns=frame.columns))
    assert np.allclose(expected, got, rtol=0, atol=1e-12)


def test_one_bad_request_does_not_end_the_stream(served: Served, iris: str):
    good = [5.1, 3.5, 1.4, 0.2]
    sent = [
        request(iris, good),
        request("nobody", good),
        request(iris, [float("nan"), 1, 1, 1]),
        request(iris, good, version=99),
        request(iris, good),
    ]
    replies = list(served.stub.PredictStream(iter(sent), timeout=60))
    assert ["response", "error", "error", "error", "response"] == [
        reply.WhichOneof("result") for reply in replies
    ]
    assert ["MODEL_NOT_FOUND", "NOT_FINITE", "VERSION_NOT_FOUND"] == [
        reply.error.reason for reply in replies[1:4]
    ]
    assert [5, 3, 5] == [reply.error.code for reply in replies[1:4]]
    assert 1 == len(replies[2].error.violations)


def test_whoever_does_not_read_is_not_read_from(served: Served, iris: str):
    sent = 0
    stop = threading.Event()
    # Requests of 32 KiB fill what lies between client and server soon.
    big = pb.PredictStreamRequest(
        request=pb.PredictRequest(
            model=iris, tensor=pb.Tensor(shape=[1024, 4], raw=rows(1024).tobytes())
        )
    )

    def requests():
        nonlocal sent
        while not stop.is_set() and sent < 20_000:
            sent += 1
            yield big

    replies = served.stub.PredictStream(requests(), timeout=60)
    next(replies)

    def stands_still() -> bool:
        before = sent
        time.sleep(0.5)
        return sent == before

    assert until(stands_still)
    assert sent < 20_000
    stop.set()
    assert sent - 1 == sum(1 for _ in replies)


def test_an_empty_stream_ends_well(served: Served):
    assert [] == list(served.stub.PredictStream(iter(()), timeout=10))


def test_a_cancelled_stream_leaves_nothing_behind(served: Served, iris: str):
    def requests():
        while True:
            yield request(iris, [5.1, 3.5, 1.4, 0.2])

    replies = served.stub.PredictStream(requests(), timeout=60)
    for _ in range(100):
        next(replies)
    replies.cancel()
    assert 1 == len(served.predict(iris, [[5.1, 3.5, 1.4, 0.2]]).outputs[0].ints.values)


def test_the_client_streams_predictions_and_errors(served: Served, iris: str):
    data = rows(3)
    with Client(served.address) as client:
        got = list(client.predict_stream(iris, [data[:2], data[:0], data[2:]]))
    assert isinstance(got[1], InvalidArgument)
    assert [2, 1] == [len(prediction.label) for prediction in (got[0], got[2])]
    assert "NO_ROWS" == got[1].reason


def test_the_asyncio_client_does_as_well(served: Served, iris: str):
    async def collect() -> list:
        async with AsyncClient(served.address) as client:
            return [one async for one in client.predict_stream(iris, [rows(2), rows(1)])]

    assert [2, 1] == [len(prediction.label) for prediction in asyncio.run(collect())]
