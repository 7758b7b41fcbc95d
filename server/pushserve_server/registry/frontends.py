"""Frontends: which are alive, what they have loaded, and by which generation they serve."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.tables import Tables, tuples

_DEAD: Final = timedelta(hours=1)
"""A frontend that was silent for so long comes back under another id, if at all."""


class Frontends:
    """The part of the registry that frontends report to.

    None of it counts as a change. Deployers are told of what they may wait for: that a frontend
    has loaded a version, or serves by another generation; not of each heartbeat.
    """

    _store: RegistryDatabase

    def frontend_started(self, frontend_id: str, replica: str) -> None:
        """Announce a frontend of a replica; rows of long dead ones go."""
        with self._store.writing() as tables:
            frontends, now = tables.frontends, self._store.now()
            _remove(
                tables,
                (frontends.id == frontend_id) | (frontends.heartbeat_at < now - _DEAD),
            )
            frontends.insert(
                id=frontend_id, replica=replica, generation=-1, heartbeat_at=now
            ).execute()

    def heartbeat(self, frontend_id: str, replica: str, generation: int) -> bool:
        """Say that a frontend lives, and which generation it serves by.

        Returns:
            Whether the registry knew it. One that it did not know, because it was silent for
            long, is announced anew, and has to say again what it has loaded.
        """
        with self._store.claiming() as tables:
            frontends, now = tables.frontends, self._store.now()
            same = (frontends.id == frontend_id) & (frontends.generation == generation)
            if frontends.update(heartbeat_at=now).where(same).execute():
                return True
            row = {"generation": generation, "heartbeat_at": now}
            known = frontends.update(row).where(frontends.id == frontend_id).execute()
            if not known:
                frontends.insert(id=frontend_id, replica=replica, **row).execute()
            self._store.tell()
            return bool(known)

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

    def live_frontends(self, ttl: float) -> list[tuple[str, int]]:
        """Give (id, generation it serves by; -1 for none yet) of those seen in `ttl` seconds."""
        with self._store.reading() as tables:
            frontends = tables.frontends
            query = (
                frontends.select(frontends.id, frontends.generation)
                .where(self._is_alive(ttl))
                .order_by(frontends.id)
            )
            return [(frontend, generation) for frontend, generation in tuples(query)]

    def loads(self, version_id: int, ttl: float) -> dict[str, str | None]:
        """Give the live frontends that have tried to load a version.

        The value is None where it is loaded, else the error.
        """
        with self._store.reading() as tables:
            loads, frontends = tables.loads, tables.frontends
            query = (
                loads.select(loads.frontend_id, loads.error)
                .join(frontends, on=(loads.frontend_id == frontends.id))
                .where(loads.version_id == version_id, self._is_alive(ttl))
            )
            return dict(tuples(query))

    def _is_alive(self, ttl: float) -> Any:
        """The condition that a frontend was seen in the last `ttl` seconds."""
        oldest = self._store.now() - timedelta(seconds=ttl)
        return self._store.tables.frontends.heartbeat_at > oldest

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
