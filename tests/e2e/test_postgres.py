"""Whole servers over one PostgreSQL registry."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, start, stop, until

pytestmark = pytest.mark.postgres

ROW = [5.1, 3.5, 1.4, 0.2]


ENGINES = ("onnx", "worker")


def label(server: Served, engine: str) -> tuple[int, str]:
    reply = server.predict(f"shared-{engine}", [ROW])
    return reply.version, reply.outputs[0].strings.values[0]


def test_two_servers_share_a_registry(
    postgres: Callable[[], str], hub: GitHost, tmp_path: Path
) -> None:
    """READY means that both answer with it, each from a bundle of its own."""
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    settings = {"database_url": postgres(), "frontends": 1}
    one = start(tmp_path / "one", sources, settings)
    try:
        two = start(tmp_path / "two", sources, settings)
        try:
            for engine in ENGINES:
                model = f"shared-{engine}"
                repo = hub.create(f"pg-{engine}")
                repo.commit(models.answering_files("v1", engine))
                one.ready(repo.url, model=model)
                assert [(1, "v1-setosa")] * 2 == [label(one, engine), label(two, engine)]
                repo.commit(models.answering_files("v2", engine))
                two.ready(repo.url)
                assert [(2, "v2-setosa")] * 2 == [label(one, engine), label(two, engine)]
                one.stub.Pin(pb.PinRequest(model=model, version=1), timeout=10)
                assert [(1, "v1-setosa")] * 2 == [label(one, engine), label(two, engine)]
        finally:
            stop(two)
        # What is left serves and deploys on.
        for engine in ENGINES:
            one.stub.Unpin(pb.UnpinRequest(model=f"shared-{engine}"), timeout=10)
            until(lambda engine=engine: label(one, engine) == (2, "v2-setosa"))
    finally:
        stop(one)
