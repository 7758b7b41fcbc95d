"""Which workers a server runs: what the registry asks for, within the operator's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

from pushserve_server.domain.records import EngineName, Snapshot, Version
from pushserve_server.registry import Registry
from pushserve_server.registry.tables import EPOCH
from pushserve_server.serve.models.memory import Use, victims
from pushserve_server.serve.models.preload import PreloadRule, preloads
from pushserve_server.settings import Settings
from pushserve_server.workers.pool import Plan, Workers, plan
from pushserve_server.workers.process_memory import Footprints

_IDLE_LOOK: Final = 5.0


def within(
    open_now: Plan, fixed: Collection[int], taken: int, limit: int, size: Callable[[int], int]
) -> Plan:
    """Leave out of a plan the slots for which there is no room until others have closed.

    `taken` is what those that run take, in bytes. One of `fixed`, and the only one there
    is, is opened all the same.
    """
    opened = []
    for version_id in sorted(open_now.open, key=lambda i: i not in fixed):
        if version_id in fixed or not taken or taken + size(version_id) <= limit:
            opened.append(version_id)
            taken += size(version_id)
    return Plan(open=tuple(opened), close=open_now.close)


class Following:
    """Keeps the workers of one server in step with the registry."""

    def __init__(
        self, settings: Settings, registry: Registry, workers: Workers, replica: str
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._workers = workers
        self._replica = replica
        self._footprints = Footprints()
        self._snapshot: Snapshot | None = None
        self._wanted: dict[int, Version] = {}
        self._looked_for_idle = 0.0

    def step(self) -> None:
        """Look at the registry once; open and close slots."""
        now = time.monotonic()
        if now - self._looked_for_idle > _IDLE_LOOK:
            self._looked_for_idle = now
            self._registry.expire_demands(datetime.now(UTC), self._settings.idle_unload)
        changed = self._read()
        if self._footprints.measure(self._workers.pids, now) or changed:
            self._make_room()
        waiting = self._worker_ids() ^ self._workers.slots
        if changed or waiting:
            self._carry_out()

    def _worker_ids(self) -> set[int]:
        return {i for i, version in self._wanted.items() if version.engine is EngineName.WORKER}

    def _read(self) -> bool:
        """Read what is wanted, where that has changed; say whether it has."""
        before = self._snapshot
        if before is not None and self._registry.generation() == before.generation:
            return False
        moment, idle = datetime.now(UTC), self._settings.idle_unload
        if before is None:
            self._registry.expire_demands(moment, idle, all_refs=True)
            self._demand_preloads(self._registry.snapshot(moment, idle), moment)
        self._snapshot = snapshot = self._registry.snapshot(moment, idle)
        # A lost bundle that was built again may have another digest: read those anew.
        stale = self._workers.without_bundle
        missing = (snapshot.hot - self._wanted.keys()) | (snapshot.hot & stale)
        versions = {**self._wanted, **self._registry.versions_by_id(missing)}
        self._wanted = {i: versions[i] for i in snapshot.hot if i in versions}
        self._footprints.forget_others(snapshot.wanted)
        return True

    def _demand_preloads(self, snapshot: Snapshot, now: datetime) -> None:
        """Demand the workers to start with, as many as may fit."""
        rule = PreloadRule(self._settings.preload, self._settings.preload_limit)
        first = preloads(snapshot.models, rule)
        versions = self._registry.versions_by_id(first)
        workers = [i for i in first if i in versions and _is_worker(versions[i])]
        taken = len(snapshot.demanded)
        room = self._settings.worker_memory // self._footprints.size(0) - taken
        new = [i for i in workers if i not in snapshot.demanded]
        if new[: max(room, 0)]:
            self._registry.demand(new[:room], now, by_ref=True)

    def _make_room(self) -> None:
        """Take back the demands for which there is no memory; frontends then let them go."""
        fixed = self._snapshot.deploying if self._snapshot else frozenset()
        ids = self._worker_ids()
        sizes = {i: self._footprints.size(i) for i in ids}
        limit = self._settings.worker_memory
        if sum(sizes.values()) <= limit:
            return
        called = self._registry.demands()
        uses = (Use(i, sizes[i], (called.get(i, EPOCH)).timestamp(), fixed=i in fixed) for i in ids)
        gone = victims(uses, limit)
        if gone:
            self._registry.withdraw_demands(gone)

    def _carry_out(self) -> None:
        slots = self._workers.slots
        planned = plan(self._wanted, self._registry.loaded_by(self._replica), slots)
        taken = sum(self._footprints.size(i) for i in slots - set(planned.close))
        fixed = self._snapshot.deploying if self._snapshot else frozenset()
        limit = self._settings.worker_memory
        planned = within(planned, fixed, taken, limit, self._footprints.size)
        self._workers.carry_out(planned, self._wanted)


def _is_worker(version: Version) -> bool:
    return version.engine is EngineName.WORKER
