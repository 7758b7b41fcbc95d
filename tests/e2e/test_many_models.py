"""A whole server with little memory: workers come with their calls and make room."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, start, stop, until

TIGHT = {
    "preload": "[]",
    "worker_memory": "1 MiB",  # less than any worker takes: one runs at a time
    "graph_memory": "64 KiB",
}


def sources(hub: GitHost) -> str:
    return f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """A server in which two workers, or two graphs, have no room beside each other."""
    server = start(tmp_path_factory.mktemp("tight"), sources(hub), TIGHT)
    yield server
    stop(server)


def scripted(hub: GitHost, server: Served, name: str) -> None:
    """Take a worker model live that answers with its name."""
    repo = hub.create(name)
    repo.commit(models.script_files(f'def predict(row):\n    return {{"who": "{name}"}}\n'))
    server.ready(repo.url)


def who(server: Served, name: str) -> str:
    request = pb.PredictRequest(model=name)
    request.rows.add().update({"x": 1})
    return str(server.stub.Predict(request, timeout=20).rows[0]["who"])


def workers(server: Served) -> int:
    """Count the worker processes: a socket stands for each version's."""
    return len(list((server.run_dir / "workers").iterdir()))


def test_workers_that_have_no_room_take_turns(tight: Served, hub: GitHost):
    for name in ("ant", "bee"):
        scripted(hub, tight, name)
    for name in ("ant", "bee", "bee", "ant"):
        assert name == who(tight, name)
        until(lambda: 1 == workers(tight))
    with ThreadPoolExecutor(8) as pool:
        names = ["ant", "bee"] * 8
        assert names == list(pool.map(lambda name: who(tight, name), names))


@pytest.mark.long
def test_graphs_that_have_no_room_take_turns(tight: Served, hub: GitHost):
    for name in ("cat", "dog"):
        repo = hub.create(name)
        repo.commit(models.doubling_files())
        tight.ready(repo.url)
    for name in ("cat", "dog") * 4:
        answer = tight.predict(name, [[1.0, 2.0]])
        assert [2.0, 4.0] == list(answer.outputs[0].doubles.values)


@pytest.mark.long
def test_after_a_start_workers_run_by_the_operators_rule(tmp_path: Path, hub: GitHost):
    server = start(tmp_path, sources(hub), {"idle_unload": "0.5"})
    try:
        for name in ("eel", "fox"):
            scripted(hub, server, name)
    finally:
        stop(server)
    server = start(tmp_path, sources(hub), {"idle_unload": "0.5", "preload": '["f*"]'})
    try:
        until(lambda: 1 == workers(server))
        assert "fox" == who(server, "fox")
        assert 1 == workers(server)
        assert "eel" == who(server, "eel")
        assert 2 == workers(server)
    finally:
        stop(server)
