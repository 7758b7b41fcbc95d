"""Redating: after the registry's clock was put back, what is dated later than now counts from now.

Else a lease whose deployer is gone would hold, and a frontend that is gone would seem to live,
for as long as the clock was put back. Those that live renew theirs within seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pushserve_server.registry.history import OPEN
from pushserve_server.registry.tables import Tables

_LATER: Final = timedelta(seconds=1)
"""More than transactions that run beside each other differ by."""


def is_dated_later(tables: Tables, now: datetime) -> bool:
    """Say whether anything was written when the clock showed more than now."""
    return any(query.exists() for query in _dated_later(tables, now))


def redate(tables: Tables, now: datetime) -> None:
    """Let it all have been written now; leases keep their length."""
    leases, heartbeats, keep_alives = _dated_later(tables, now)
    for row in leases:
        row.leased_at, row.lease_until = now, now + (row.lease_until - row.leased_at)
        row.save(only=["leased_at", "lease_until"])
    for row in heartbeats:
        row.heartbeat_at = now
        row.save(only=["heartbeat_at"])
    for row in keep_alives:
        row.called_at = now
        row.save(only=["called_at"])


def _dated_later(tables: Tables, now: datetime) -> tuple[Any, ...]:
    deployments, frontends, keep_alives = tables.deployments, tables.frontends, tables.keep_alives
    later = now + _LATER
    return (
        deployments.select().where(deployments.state.in_(OPEN), deployments.leased_at > later),
        frontends.select().where(frontends.heartbeat_at > later),
        keep_alives.select().where(keep_alives.called_at > later),
    )
