"""Database: SQLite or PostgreSQL, chosen by URL, and the three kinds of transaction.

Three kinds of transaction are all there is. `reading` sees one state of the whole
database. `writing` has no other writer beside it (IMMEDIATE on SQLite, an advisory lock
on PostgreSQL), so that a decision holds until its own commit. `claiming` locks only the
rows that it takes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from peewee import Database, DatabaseError, InterfaceError, OperationalError
from playhouse.migrations import Runner
from playhouse.pool import (
    MaxConnectionsExceeded,
    PooledPostgresqlDatabase,
    PooledSqliteDatabase,
)

from pushserve_server.errors import RegistryUnavailable
from pushserve_server.registry.clock import Clock, shared_clock, wall_time
from pushserve_server.registry.database_trouble import trouble
from pushserve_server.registry.tables import EPOCH, Tables

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_WRITERS: Final = 0x70757368
"""Key of the advisory lock ("push"); such locks are counted for each database apart."""
_CONNECTIONS: Final = 32
_WAIT: Final = 30
"""For a connection and for other writers, in seconds."""
_LOOK: Final = 0.01
_POSTGRES_SCHEMES: Final = ("postgresql", "postgres", "psycopg3", "postgresql+pool")
CHANNEL: Final = "pushserve"
"""Where PostgreSQL tells of changes."""


def postgres_url(url: str) -> str | None:
    """Give a URL in the one form that PostgreSQL's own library takes; None for another database."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql://{rest}" if separator and scheme in _POSTGRES_SCHEMES else None


class RegistryDatabase:
    """One open database: its tables and its transactions. Any thread may use it."""

    def __init__(self, database: Database, *, postgres: bool) -> None:
        # Its stubs leave much of it untyped.
        self._database: Any = database
        self._postgres = postgres
        self._clock: Clock = self._database_time if postgres else wall_time
        self._shown_clock: Clock = self._clock
        self._changed = threading.local()
        self.on_change: Callable[[], None] = lambda: None
        """Called after each commit of a change that others have to hear of, by its thread."""
        self.tables = Tables(database)

    @classmethod
    def open(cls, url: str, clock: Clock | None = None) -> RegistryDatabase:
        """Connect and bring the schema up to date; `clock` takes the place of the database's.

        Raises:
            ValueError: the URL is of no form that is known.
            RegistryUnavailable: the database cannot be used; the text says why.
        """
        scheme, separator, rest = url.partition("://")
        postgres = postgres_url(url)
        if postgres is not None:
            store = cls(_postgres(postgres), postgres=True)
        elif separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
            try:
                store = cls(_sqlite(Path(rest[1:])), postgres=False)
            except OSError as error:
                raise _away(error.strerror or "") from error
        else:
            # The URL itself may hold a password.
            raise ValueError(
                'a database URL is "sqlite:///data/registry.sqlite3" (four slashes before an '
                f'absolute path) or "postgresql://user:password@host/name"; this is "{scheme}:…"'
            )
        try:
            store.migrate()
            store.set_clock(clock)
        except BaseException:
            store.close()
            raise
        return store

    def migrate(self) -> None:
        """Run the migrations that are missing; other processes that start wait meanwhile."""
        with self.writing():
            Runner(self._database, str(_MIGRATIONS)).up()

    def set_clock(self, clock: Clock | None) -> None:
        """Measure by `clock`, for times that people read too; by the database's, where it is None.

        That is PostgreSQL's own, or the one that all processes on an SQLite file share.
        """
        if clock is not None:
            self._clock = self._shown_clock = clock
        elif not self._postgres:
            with self.writing() as tables:
                self._clock = shared_clock(tables)

    def now(self) -> datetime:
        """Give the time by which leases, keep-alive requests and heartbeats are measured.

        Inside a transaction that writes, ask after its locks were taken.
        """
        return self._clock()

    def shown_now(self) -> datetime:
        """Give the time for people to read."""
        return self._shown_clock()

    def _database_time(self) -> datetime:
        query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        cursor = self._database.execute_sql(query)
        return EPOCH + timedelta(microseconds=cursor.fetchone()[0])

    def close(self) -> None:
        """Close every connection. No call may be under way."""
        self._database.close_all()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold a connection: for one statement, without a transaction."""
        try:
            with self._database.connection_context():
                yield
        except (DatabaseError, InterfaceError, MaxConnectionsExceeded) as error:
            why = trouble(error)
            if not (why or isinstance(error, (OperationalError, InterfaceError))):
                raise  # a defect here
            raise _away(why) from error

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """Read one state of the database."""
        how = "REPEATABLE READ" if self._postgres else "DEFERRED"
        with self.connected(), self._database.atomic(how):
            yield self.tables

    @contextmanager
    def writing(self) -> Iterator[Tables]:
        """Write while nobody else does."""
        with self.claiming():
            if self._postgres:
                self._database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_WRITERS,))
            yield self.tables

    @contextmanager
    def claiming(self) -> Iterator[Tables]:
        """Write rows that `claimed` has locked, or that nobody else writes."""
        with self.connected(), self._database.atomic(*(() if self._postgres else ("IMMEDIATE",))):
            self._changed.told = False
            yield self.tables
        if self._changed.told:
            self.on_change()

    def locked(self, query: Any, *, skip: bool = False) -> Any:
        """Lock the rows that `query` selects; `skip` those that others have locked.

        SQLite has one writer anyway.
        """
        if not self._postgres:
            return query
        return query.for_update("FOR UPDATE SKIP LOCKED" if skip else "FOR UPDATE")

    def generation(self) -> int:
        """Read the counter."""
        cursor = self._database.execute_sql("SELECT generation FROM counter")
        return int(cursor.fetchone()[0])

    def bump(self) -> int:
        """Count a change that matters to whoever serves; give the new generation."""
        counter = self.tables.counter
        counter.update(generation=counter.generation + 1).execute()
        self.tell()
        return self.generation()

    def tell(self) -> None:
        """Wake others when this transaction is committed; other servers where the database can."""
        self._changed.told = True
        if self._postgres:
            self._database.execute_sql(f"NOTIFY {CHANNEL}")


def _away(why: str) -> RegistryUnavailable:
    return RegistryUnavailable(
        "the registry's database cannot be used just now" + (f": {why}" if why else "")
    )


def _postgres(url: str) -> Any:
    return PooledPostgresqlDatabase(
        url, prefer_psycopg3=True, max_connections=_CONNECTIONS, timeout=_WAIT
    )


def _sqlite(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    _create_private(path)
    _use_wal(path)
    return PooledSqliteDatabase(
        str(path),
        max_connections=_CONNECTIONS,
        # PooledDatabase takes `timeout` for itself, so SQLite's own goes by pragma.
        timeout=_WAIT,
        # A connection goes from thread to thread through the pool, one at a time.
        check_same_thread=False,
        pragmas=[
            ("busy_timeout", _WAIT * 1000),
            # A reply to Register means that the row is on disk.
            ("synchronous", "full"),
            ("foreign_keys", 1),
        ],
    )


def _use_wal(path: Path) -> None:
    """Have readers not wait for the writer; the file remembers it.

    Where others do the same, SQLite says at once that the file is locked instead of waiting.
    """
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=_WAIT)) as connection:
                connection.execute("PRAGMA journal_mode = wal")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY and time.monotonic() < deadline:
                time.sleep(_LOOK)
                continue
            # What else is wrong with the file is said by whoever uses it.
        return


def _create_private(path: Path) -> None:
    """Make the file for its owner alone, before SQLite makes it for everyone."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        # Left as the operator has it. (Opening it here would drop SQLite's locks.)
        return
