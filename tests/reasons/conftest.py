"""One server for the walk through every reason: its repositories are named by the reasons."""

from collections.abc import Iterator

import pytest

from tests.fixtures.git_server import GitHost, serve_git
from tests.fixtures.served import Served, start, stop


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the mark by which a test says which reasons it brings about and cures."""
    config.addinivalue_line("markers", "reason(*names): reasons of docs/errors.md that it cures")


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """The Git host of all files."""
    with serve_git(tmp_path_factory.mktemp("hub")) as host:
        yield host


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """The server; its sources are what `hub` serves."""
    settings = {"frontends": 1, "predict_timeout": 2, "reconcile_interval": 3600}
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    server = start(tmp_path_factory.mktemp("server"), sources, settings)
    yield server
    stop(server)
