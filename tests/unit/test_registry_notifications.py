"""Changes that other servers make to a shared registry are heard of, not only polled for."""

import threading

import psycopg
import pytest

from pushserve_server.registry import Registry
from pushserve_server.registry.notifications import ChangeListener
from tests.fixtures.registry import Steps, sha

SOON = 10


class Ear:
    """Listens to a registry, and waits for what is to be heard."""

    def __init__(self, url: str) -> None:
        self._heard = threading.Event()
        self.listener = ChangeListener(url, self._heard.set)

    def hears(self, timeout: float = SOON) -> bool:
        """Whether anything comes within `timeout` seconds."""
        heard = self._heard.wait(timeout)
        self._heard.clear()
        return heard


@pytest.fixture
def url(postgres):
    return postgres()


@pytest.fixture
def steps(url):
    registry = Registry.open(url)
    yield Steps(registry)
    registry.close()


@pytest.fixture
def ear(url, steps):
    """Give one that listens already: it has heard that it does."""
    ear = Ear(url)
    ear.listener.start()
    assert ear.hears()
    yield ear
    ear.listener.stop()


@pytest.mark.postgres
def test_what_matters_to_other_servers_is_heard(ear, steps):
    steps.live()
    assert ear.hears()
    steps.registry.frontend_started("f", "r")
    steps.registry.record_load("f", 1, None)
    assert ear.hears()
    steps.registry.heartbeat("f", "r", 3)
    assert ear.hears()
    steps.register(sha("b"))
    assert ear.hears()


@pytest.mark.postgres
def test_nothing_is_heard_where_nothing_changes(ear, steps):
    steps.registry.generation()
    steps.registry.live_frontends(5)
    assert not ear.hears(0.5)


@pytest.mark.postgres
def test_a_heartbeat_with_nothing_new_is_not_heard(ear, steps):
    """Each frontend sends one every two seconds, and each would wake every process there is."""
    steps.registry.frontend_started("f", "r")
    steps.registry.heartbeat("f", "r", 3)
    while ear.hears(0.5):
        pass
    for _ in range(3):
        steps.registry.heartbeat("f", "r", 3)
    assert not ear.hears(0.5)


@pytest.mark.postgres
def test_a_lost_connection_is_made_anew(ear, url, steps, monkeypatch):
    """What came meanwhile is looked for as soon as it stands again."""
    monkeypatch.setattr("pushserve_server.registry.notifications._AGAIN", 0.05)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
    assert ear.hears()
    steps.live()
    assert ear.hears()


def test_sqlite_has_nobody_to_listen_to(tmp_path):
    ear = Ear(f"sqlite:///{tmp_path / 'r.sqlite3'}")
    ear.listener.start()
    assert not ear.hears(0.2)
    ear.listener.stop()


@pytest.mark.postgres
def test_whether_changes_are_heard_is_told_as_it_changes(url, steps):
    """While LISTEN is up, those who poll look seldom."""
    told = []
    changed = threading.Condition()

    def hears(heard: bool) -> None:
        with changed:
            told.append(heard)
            changed.notify_all()

    def until(expected: list[bool]) -> None:
        with changed:
            assert changed.wait_for(lambda: expected == told, SOON), told

    listener = ChangeListener(url, lambda: None, hears)
    listener.start()
    until([False, True])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN %' AND datname = current_database()"
        )
    until([False, True, False])
    listener.stop()


def test_with_sqlite_all_is_heard(tmp_path):
    """Every process is of this server, and wakes the others."""
    told = []
    listener = ChangeListener(f"sqlite:///{tmp_path / 'r.sqlite3'}", lambda: None, told.append)
    listener.start()
    listener.stop()
    assert [True] == told
