"""A registry that an earlier server made is brought up to date, and what it holds goes on."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from playhouse.migrations import Runner

from pushserve_server.domain.records import EngineName, Failure
from pushserve_server.domain.states import DeploymentState as S
from pushserve_server.registry import Registry, database
from tests.fixtures.registry import MAIN, HandClock, Steps, sha, token

DUMP = Path(__file__).parents[1] / "fixtures" / "registry_0002.sql"
"""Of SQLite, as the server wrote it before migration 0003: one deployment in each kind of state."""
TABLES = ("sources", "models", "versions", "deployments", "deployment_events", "refs",
          "frontends", "loads", "demands", "counter")  # fmt: skip
BOOLEANS = {"forgotten", "by_ref"}


def old_sqlite(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        connection.executescript(DUMP.read_text())
    return f"sqlite:///{path}"


def old_postgres(url: str) -> str:
    """Make the tables by the migrations of then, and copy the rows."""
    store = database.RegistryDatabase(database._postgres(url), postgres=True)
    with store.writing():
        Runner(store._database, str(database._MIGRATIONS)).up("0002_demand_by_ref")
    store.close()
    rows = sqlite3.connect(":memory:")
    rows.row_factory = sqlite3.Row
    rows.executescript(DUMP.read_text())
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM counter")
        for table in TABLES:
            for row in rows.execute(f"SELECT * FROM {table}"):
                values = {k: bool(row[k]) if k in BOOLEANS else row[k] for k in row.keys()}  # noqa: SIM118
                columns = ", ".join(f'"{name}"' for name in values)
                marks = ", ".join(["%s"] * len(values))
                connection.execute(
                    f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*values.values()]
                )
        for table in TABLES[:6]:
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
            )
    rows.close()
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def steps(request, tmp_path):
    if request.param == "sqlite":
        url = old_sqlite(tmp_path / "old.sqlite3")
    else:
        url = old_postgres(request.getfixturevalue("postgres")())
    clock = HandClock()
    registry = Registry.open(url, clock)
    yield Steps(registry, clock)
    registry.close()


def test_models_versions_and_refs_are_those_of_before(steps):
    registry = steps.registry
    assert ["iris", "rose"] == [model.name for model in registry.list_models(limit=9)]
    main = registry.resolve_ref("iris", "")
    assert (MAIN, 2, 1) == (main.name, main.version, main.pinned)
    assert [3, 2, 1] == [version.number for version in registry.versions("iris")]
    assert EngineName.ONNX is registry.find_built("iris", sha("b")).engine


def test_calls_that_name_no_ref_go_on_where_they_went(tmp_path):
    """Of a source whose default branch is not known: to main, where there is one."""
    url = old_sqlite(tmp_path / "old.sqlite3")
    with sqlite3.connect(tmp_path / "old.sqlite3") as connection:
        connection.execute("UPDATE sources SET default_branch = ''")
        connection.execute("UPDATE models SET default_ref = 'refs/heads/gone'")
    registry = Registry.open(url)
    assert MAIN == registry.resolve_ref("iris", "").name
    registry.close()


def test_every_deployment_is_there_and_the_open_ones_go_on(steps):
    registry = steps.registry
    found = {d.ref.rpartition("/")[2]: d.state for d in registry.list_deployments(limit=9)}
    expected = {"main": S.READY, "v1": S.READY, "dev": S.FAILED, "next": S.ACTIVATING,
                "later": S.FETCHING, "queued": S.QUEUED}  # fmt: skip
    assert expected == found
    steps.at(60)
    taken = steps.take("new")
    assert (S.ACTIVATING, "refs/heads/next") == (taken.state, taken.ref)
    assert S.READY is registry.finish(token(taken, "new")).state


def test_the_next_push_goes_live(steps):
    steps.at(60)
    steps.registry.finish(token(steps.take()))
    for _ in ("later", "queued"):
        steps.registry.fail(token(steps.take()), Failure("X", S.FETCHING, "x", "y"))
    steps.live(sha("f"))
    assert 4 == steps.registry.resolve_ref("iris", "main").version
