"""Reasons of calls that a fault of the server brings about, where no other test names them."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from pushserve_server.errors import Unavailable
from pushserve_server.registry import Registry
from pushserve_server.serve.models import model_table
from pushserve_server.source.command import GitFailed
from pushserve_server.source.failures import explained


@pytest.mark.reason("MODEL_LOADING")
def test_a_version_that_is_loaded_a_moment_later(many, monkeypatch):
    """The call gives up before the load has ended, and the next one is answered."""
    many.add(1)

    async def run():
        async with many.model_table() as table:
            monkeypatch.setattr(model_table, "LOAD_PATIENCE", 0.0)
            with pytest.raises(Unavailable) as caught:
                await table.wait_for_route("m0000")
            monkeypatch.setattr(model_table, "LOAD_PATIENCE", 20.0)
            return caught.value, await table.wait_for_route("m0000")

    error, loaded = asyncio.run(run())
    assert "MODEL_LOADING" == error.code_reason
    assert "is still being loaded" in error.message
    assert error.retry_after
    assert "m0000" == loaded.version.model


@pytest.mark.reason("SERVER_DISK_FULL")
@pytest.mark.parametrize(
    "said",
    [
        "fatal: write error: No space left on device",
        "error: file write error: Disk quota exceeded",
    ],
)
def test_a_disk_that_is_full(said: str):
    error = explained(GitFailed(128, said), "https://h/iris")
    assert isinstance(error, Unavailable)
    assert "SERVER_DISK_FULL" == error.code_reason
    assert "disk" in error.message
    assert error.retry_after


@pytest.mark.reason("REGISTRY_UNAVAILABLE")
def test_a_database_that_is_mended(tmp_path):
    path = tmp_path / "registry.sqlite3"
    registry = Registry.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE models RENAME TO away")
        with pytest.raises(Unavailable) as caught:
            registry.list_models(limit=1)
        other.execute("ALTER TABLE away RENAME TO models")
    assert "REGISTRY_UNAVAILABLE" == caught.value.code_reason
    assert "cannot be used just now" in caught.value.message
    assert [] == registry.list_models(limit=1)
    registry.close()
