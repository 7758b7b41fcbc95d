"""Whole servers over one PostgreSQL registry."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.served import Served, start, stop, until

pytestmark = pytest.mark.postgres

ROW = [5.1, 3.5, 1.4, 0.2]


def label(server: Served, repo: Repo) -> tuple[int, str]:
    reply = server.predict(repo.name, [ROW])
    return reply.version, reply.outputs[0].strings.values[0]


@pytest.mark.parametrize("engine", [pytest.param("onnx", marks=pytest.mark.long), "worker"])
def test_two_servers_share_a_registry(
    postgres: Callable[[], str], hub: GitHost, tmp_path: Path, engine: str
) -> None:
    """READY means that both answer with it, each from a bundle of its own."""
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    settings = {"database_url": postgres(), "frontends": 1}
    one = start(tmp_path / "one", sources, settings)
    try:
        two = start(tmp_path / "two", sources, settings)
        try:
            repo = hub.create(f"shared-{engine}")
            repo.commit(models.answering_files("v1", engine))
            one.ready(repo.url)
            assert [(1, "v1-setosa")] * 2 == [label(one, repo), label(two, repo)]
            repo.commit(models.answering_files("v2", engine))
            two.ready(repo.url)
            assert [(2, "v2-setosa")] * 2 == [label(one, repo), label(two, repo)]
            one.stub.Pin(pb.PinRequest(model=repo.name, version=1), timeout=10)
            assert [(1, "v1-setosa")] * 2 == [label(one, repo), label(two, repo)]
        finally:
            stop(two)
        # What is left serves and deploys on.
        one.stub.Unpin(pb.UnpinRequest(model=repo.name), timeout=10)
        until(lambda: label(one, repo) == (2, "v2-setosa"))
    finally:
        stop(one)
