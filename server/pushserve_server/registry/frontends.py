"""Frontends: which are alive, what they have loaded, and by which generation they serve."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.tables import Tables, tuples

_DEAD: Final = timedelta(hours=1)
"""A frontend that was silent for so long comes back under another id, if at all."""


class Frontends:
    """The part of the registry that frontends report to.

    None of it counts as a change; deployers that wait for it are told all the same.
    """

    _store: RegistryDatabase

    def frontend_started(self, frontend_id: str, replica: str, now: datetime) -> None:
        """Announce a frontend of a replica; rows of long dead ones go."""
        with self._store.writing() as tables:
            frontends = tables.frontends
            _remove(
                tables,
                (frontends.id == frontend_id) | (frontends.heartbeat_at < now - _DEAD),
            )
            frontends.insert(
                id=frontend_id, replica=replica, generation=-1, heartbeat_at=now
            ).execute()

    def heartbeat(self, frontend_id: str, generation: int, now: datetime) -> None:
        """Say that a frontend lives, and which generation it serves by."""
        with self._store.claiming() as tables:
            frontends = tables.frontends
            frontends.update(generation=generation, heartbeat_at=now).where(
                frontends.id == frontend_id
            ).execute()
            self._store.tell()

    def frontend_stopped(self, frontend_id: str) -> None:
        """Take a frontend's rows away."""
        with self._store.writing() as tables:
            _remove(tables, tables.frontends.id == frontend_id)

    def stop_replica(self, replica: str) -> None:
        """Take the rows of all the frontends of a replica away."""
        with self._store.writing() as tables:
            _remove(tables, tables.frontends.replica == replica)

    def record_load(self, frontend_id: str, version_id: int, error: str | None) -> None:
        """Say that a frontend has loaded a version, or why it could not."""
        with self._store.claiming() as tables:
            loads = tables.loads
            loads.insert(frontend_id=frontend_id, version_id=version_id, error=error).on_conflict(
                conflict_target=[loads.frontend_id, loads.version_id], update={loads.error: error}
            ).execute()
            self._store.tell()

    def forget_load(self, frontend_id: str, version_ids: Iterable[int]) -> None:
        """Say that a frontend no longer has these versions."""
        with self._store.claiming() as tables:
            loads = tables.loads
            loads.delete().where(
                loads.frontend_id == frontend_id, loads.version_id.in_(list(version_ids))
            ).execute()

    def live_frontends(self, now: datetime, ttl: float) -> list[tuple[str, int]]:
        """Give (id, generation it serves by; -1 for none yet) of those seen in `ttl` seconds."""
        with self._store.reading() as tables:
            frontends = tables.frontends
            query = (
                frontends.select(frontends.id, frontends.generation)
                .where(frontends.heartbeat_at > now - timedelta(seconds=ttl))
                .order_by(frontends.id)
            )
            return [(frontend, generation) for frontend, generation in tuples(query)]

    def loads(self, version_id: int, now: datetime, ttl: float) -> dict[str, str | None]:
        """Give the live frontends that have tried to load a version.

        The value is None where it is loaded, else the error.
        """
        with self._store.reading() as tables:
            loads, frontends = tables.loads, tables.frontends
            query = (
                loads.select(loads.frontend_id, loads.error)
                .join(frontends, on=(loads.frontend_id == frontends.id))
                .where(
                    loads.version_id == version_id,
                    frontends.heartbeat_at > now - timedelta(seconds=ttl),
                )
            )
            return dict(tuples(query))

    def loaded_by(self, replica: str) -> set[int]:
        """Give the ids of the versions that some frontend of a replica has loaded."""
        with self._store.reading() as tables:
            loads, frontends = tables.loads, tables.frontends
            query = (
                loads.select(loads.version_id)
                .join(frontends, on=(loads.frontend_id == frontends.id))
                .where(frontends.replica == replica, loads.error.is_null())
            )
            return {version_id for (version_id,) in tuples(query)}


def _remove(tables: Tables, which: object) -> None:
    frontends, loads = tables.frontends, tables.loads
    gone = frontends.select(frontends.id).where(which)
    loads.delete().where(loads.frontend_id.in_(gone)).execute()
    frontends.delete().where(which).execute()
