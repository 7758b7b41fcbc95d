"""One server for all files of this folder: none of them disturbs another's models.

Names of repositories and models are so each file's own. Whatever kills processes, needs a setting
or counts all models has a server of its own, one folder up.
"""

from collections.abc import Iterator

import pytest

from tests.fixtures.git_server import GitHost, serve_git
from tests.fixtures.served import Served, start, stop


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """The Git host of all files."""
    with serve_git(tmp_path_factory.mktemp("hub")) as host:
        yield host


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """The server; its sources are what `hub` serves."""
    sources = (
        f'[[sources]]\nurl = "{hub.address}/data-*"\ntrust = "data"\n'
        f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    )
    server = start(tmp_path_factory.mktemp("server"), sources)
    yield server
    stop(server)
