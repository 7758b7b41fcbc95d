"""Opening a registry: its file, its schema, many at once, and what cannot be opened."""

import stat
from pathlib import Path

import pytest

from pushserve_server.errors import Unavailable
from pushserve_server.registry import Registry
from tests.fixtures.registry import in_processes, open_registry


def test_many_open_a_new_database_at_once(registry_url):
    """One of them migrates, the others wait for it."""
    assert [0] * 8 == in_processes(8, open_registry, registry_url)


def test_a_second_opening_changes_nothing(steps, registry_url):
    deployment = steps.register()
    again = Registry.open(registry_url)
    assert deployment.name == again.get_deployment(deployment.name).name
    again.close()


def test_the_tables_are_those_of_the_migrations(registry):
    """What tables.py names is what the database has, column for column."""
    store = registry._store
    rows = vars(store.tables).values()
    expected = {row._meta.table_name: set(row._meta.columns) for row in rows}
    with store.reading():
        database = store._database
        found = {name: {c.name for c in database.get_columns(name)} for name in expected}
    assert expected == found


def test_the_file_is_its_owners_alone(tmp_path: Path):
    path = tmp_path / "new" / "registry.sqlite3"
    registry = Registry.open(f"sqlite:///{path}")
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    registry.close()
    assert {0o600} == modes


def test_a_reply_means_that_the_row_is_on_disk(tmp_path: Path):
    """WAL with synchronous=FULL (2) and foreign keys, on every connection."""
    registry = Registry.open(f"sqlite:///{tmp_path / 'r.sqlite3'}")
    with registry._store.reading():
        database = registry._store._database
        found = (database.journal_mode, database.synchronous, database.foreign_keys)
    registry.close()
    assert ("wal", 2, 1) == found


@pytest.mark.parametrize("url", ["mysql://ada:secret@host/x", "sqlite://", "registry.sqlite3"])
def test_another_kind_of_url_is_refused_without_its_secrets(url):
    with pytest.raises(ValueError, match="postgresql://") as caught:
        Registry.open(url)
    assert "secret" not in str(caught.value)


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable) as caught:
        Registry.open(f"postgresql://ada:secret@/x?host={tmp_path}")
    assert "secret" not in str(caught.value)
