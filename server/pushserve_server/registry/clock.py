"""Clock: what leases, keep-alive requests and heartbeats are measured by.

Two processes that compare times must read one clock, and one that nobody puts back. PostgreSQL
has a clock of its own, which all its servers ask. Processes that share an SQLite file run on one
machine, so they share the kernel's monotonic clock: it does not step when the machine's time is
set, and stands still while the machine sleeps, when nobody could renew anything either. It
begins anew with each boot; the registry therefore holds how far it is ahead of it.

Times that people read (when a version was made) are the machine's, or PostgreSQL's, own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from peewee import fn

from pushserve_server.registry.tables import EPOCH, Tables

Clock = Callable[[], datetime]
"""Gives the time, aware, in UTC."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MICROSECOND: Final = timedelta(microseconds=1)


def wall_time() -> datetime:
    """Give the machine's time, which may be set forward or back at any moment."""
    return datetime.now(UTC)


def boot_id() -> str:
    """Name the time since this machine was started; another boot has another name."""
    return _BOOT_ID.read_text().strip()


def monotonic() -> timedelta:
    """Give the time since the machine was started, the same for all of its processes."""
    return timedelta(microseconds=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def shared_clock(tables: Tables) -> Clock:
    """Give the clock of an SQLite registry; inside a writing transaction.

    The first process after a boot sets it to the machine's time, or to the latest time in the
    registry where that is later: so it never goes back.
    """
    boot = boot_id()
    row = tables.clock.get_or_none(id=1)
    if row is None or row.boot != boot:
        ahead = max(wall_time(), _latest(tables)) - EPOCH - monotonic()
        fields = {"boot": boot, "ahead": ahead // _MICROSECOND}
        tables.clock.insert(id=1, **fields).on_conflict(
            conflict_target=[tables.clock.id], update=fields
        ).execute()
        row = tables.clock.get_by_id(1)
    start = EPOCH + row.ahead * _MICROSECOND
    return lambda: start + monotonic()


def _latest(tables: Tables) -> datetime:
    """Give the latest time that was measured by the clock of an earlier boot."""
    found = [
        row.select(fn.MAX(column)).scalar()
        for row, column in (
            (tables.deployments, tables.deployments.lease_until),
            (tables.frontends, tables.frontends.heartbeat_at),
            (tables.keep_alives, tables.keep_alives.called_at),
        )
    ]
    return max((at for at in found if at is not None), default=EPOCH)
