"""The registry's own clock: one for all of its processes, which is never put back."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pushserve_server.registry import Registry, clock, database
from tests.fixtures.registry import Steps, in_processes, registry_time, token

HOUR = timedelta(hours=1)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.sqlite3'}"


@pytest.fixture
def opened(url):
    """Open it as each of several processes would."""
    registries = []

    def open_one() -> Registry:
        registries.append(Registry.open(url))
        return registries[-1]

    yield open_one
    for registry in registries:
        registry.close()


def set_machine_time(monkeypatch, ahead: timedelta) -> None:
    """Have the machine's time set forward, or back, from here on."""
    for module in (clock, database):
        monkeypatch.setattr(module, "wall_time", lambda: datetime.now(UTC) + ahead)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_setting_the_machines_time_ends_no_lease_and_lengthens_none(opened, monkeypatch, step):
    """SQLite: neither in this process nor for one that opens the registry afterwards."""
    first = opened()
    steps = Steps(first)
    steps.register()
    taken = steps.take("first")
    before = first._store.now()
    set_machine_time(monkeypatch, step)
    second = opened()
    assert None is second.lease("second", 15)
    assert before <= second._store.now() <= first._store.now() <= before + timedelta(minutes=2)
    assert first.renew(token(taken, "first"), 0)
    assert taken.id == second.lease("second", 15)[1].id


def test_after_a_restart_of_the_machine_time_goes_on_from_the_latest(opened, monkeypatch):
    """Its battery is empty: the clock says 1970. Leases of before are over all the same."""
    first = opened()
    steps = Steps(first)
    steps.register()
    before = first._store.now()
    taken = steps.take("first")
    monkeypatch.setattr(clock, "boot_id", lambda: "another")
    monkeypatch.setattr(clock, "monotonic", lambda: timedelta(seconds=3))
    monkeypatch.setattr(clock, "wall_time", lambda: datetime(1970, 1, 1, tzinfo=UTC))
    second = opened()
    assert second._store.now() >= before + timedelta(seconds=15)
    assert taken.id == second.lease("second", 15)[1].id


def test_processes_of_one_machine_share_the_time(url):
    times = in_processes(3, registry_time, url)
    assert max(times) - min(times) < timedelta(minutes=1)
    registry = Registry.open(url)
    assert max(times) <= registry._store.now()
    registry.close()


def test_times_that_people_read_are_the_machines(opened, monkeypatch):
    opened()
    set_machine_time(monkeypatch, HOUR)
    registry = opened()
    made = Steps(registry).register()
    assert timedelta(minutes=59) < made.created_at - datetime.now(UTC) < timedelta(minutes=61)


@pytest.mark.postgres
def test_postgresql_says_the_time(postgres, monkeypatch):
    """Servers on machines whose clocks disagree take nothing from one another."""
    url = postgres()
    set_machine_time(monkeypatch, HOUR)
    registry = Registry.open(url)
    try:
        with psycopg.connect(url) as connection:
            (before,) = connection.execute("SELECT clock_timestamp()").fetchone()
        steps = Steps(registry)
        made = steps.register()
        taken = steps.take("first")
        assert None is registry.lease("second", 15)
        with psycopg.connect(url) as connection:
            (after,) = connection.execute("SELECT clock_timestamp()").fetchone()
            query = "SELECT leased_at, lease_until FROM deployments"
            leased_at, until = connection.execute(query).fetchone()
    finally:
        registry.close()
    assert before <= made.created_at <= after
    assert taken.attempt == 1
    assert before.timestamp() * 1e6 <= leased_at == until - 15_000_000 <= after.timestamp() * 1e6
