"""Bundles whose bytes change on disk: nothing of them is ever answered with."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from skl2onnx import to_onnx

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, start, stop, until

ROW = [[5.1, 3.5, 1.4, 0.2]]
SCRIPT = """
import os

HERE = os.path.dirname(__file__)

def predict(input):
    with open(os.path.join(HERE, "price.txt")) as file:
        return {"price": float(file.read())}
"""


def own_graph() -> bytes:
    ridge = models.diabetes_ridge()
    width = ridge.n_features_in_
    return bytes(to_onnx(ridge, np.zeros((1, width), np.float32)).SerializeToString())


CHANGED = {
    "worker": "files/model.joblib",
    "graph": "compiled.onnx",
    "own": "files/model.onnx",
    "script": "files/price.txt",
}


def files() -> dict[str, models.Files]:
    """Give a repository of each kind, by name."""
    return {
        "worker": models.answering_files("w"),
        "graph": models.answering_files("g", "onnx"),
        "own": {"model.onnx": own_graph()},
        "script": models.script_files(SCRIPT, {"a": 1}) | {"price.txt": "12.5"},
    }


def flipped(path: Path) -> None:
    """Flip a bit in the middle; size and times stay as they were."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def folder(served: Served, model: str) -> Path:
    version = served.stub.Get(pb.GetRequest(model=model), timeout=10).version
    return served.data_dir / "bundles" / version.digest


def answer(served: Served, model: str) -> str:
    """Give what a model answers, once it does."""

    def ask() -> str:
        try:
            if model == "script":
                request = pb.PredictRequest(model=model)
                request.rows.add().update({"a": 1})
                return str(served.stub.Predict(request, timeout=20).rows)
            width = 10 if model == "own" else 4
            return str(served.predict(model, [[0.01 * i + 0.1 for i in range(width)]]).outputs)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return ""

    return str(until(ask))


@pytest.fixture
def servers(tmp_path: Path, hub: GitHost) -> Iterator[Callable[[], Served]]:
    """Starts a server with one data folder; it is stopped before the next one starts."""
    running: list[Served] = []

    def started() -> Served:
        while running:
            stop(running.pop())
        sources = f'[[sources]]\nurl = "{hub.address}/**"\ntrust = "code"\n'
        running.append(start(tmp_path / "server", sources, {"frontends": 1}))
        return running[0]

    yield started
    while running:
        stop(running.pop())


@pytest.mark.parametrize(
    "kinds",
    [("script", "graph"), pytest.param(("worker", "own"), marks=pytest.mark.long)],
    ids=" and ".join,
)
def test_no_changed_byte_is_ever_answered_with(
    servers: Callable[[], Served], hub: GitHost, kinds: tuple[str, str]
):
    """Not by a worker that starts again, and by nothing after a restart of the server."""
    served = servers()
    made = files()
    for name in kinds:
        repo = hub.create(name)
        repo.commit(made[name])
        served.ready(repo.url)
    right = {name: answer(served, name) for name in kinds}
    worker = kinds[0]
    flipped(folder(served, worker) / CHANGED[worker])
    for pid in served.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    until((folder(served, worker) / "bundle.json").exists)
    assert right[worker] == answer(served, worker)

    for name in kinds:
        flipped(folder(served, name) / CHANGED[name])
    again = servers()
    assert right == {name: answer(again, name) for name in kinds}
