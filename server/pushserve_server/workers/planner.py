"""Worker planner: which workers a server runs, within the operator's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from pushserve_server.domain.loading_rules import PreloadRule, Use, evictions, preloads
from pushserve_server.domain.records import EngineName, Snapshot, Version
from pushserve_server.registry import Registry
from pushserve_server.settings import Settings
from pushserve_server.workers.pool import SlotChanges, Workers, slot_changes
from pushserve_server.workers.process_memory import Footprints

_IDLE_LOOK: Final = 5.0


def within(
    open_now: SlotChanges,
    fixed: Collection[int],
    taken: int,
    limit: int,
    size: Callable[[int], int],
) -> SlotChanges:
    """Leave out of a plan the slots for which there is no memory until others have closed.

    `taken` is what those that run take, in bytes. One of `fixed`, and the only one there
    is, is opened all the same.
    """
    opened = []
    for version_id in sorted(open_now.open, key=lambda i: i not in fixed):
        if version_id in fixed or not taken or taken + size(version_id) <= limit:
            opened.append(version_id)
            taken += size(version_id)
    return SlotChanges(open=tuple(opened), close=open_now.close)


class WorkerPlanner:
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
        self._to_run: dict[int, Version] = {}
        self._deployments: dict[int, str] = {}
        self._looked_for_idle = 0.0

    def step(self, *, look: bool = True) -> None:
        """Look at the registry once, unless nothing can have changed; open and close slots."""
        now = time.monotonic()
        if now - self._looked_for_idle > _IDLE_LOOK:
            self._looked_for_idle = now
            self._registry.expire_keep_alives(self._settings.idle_unload)
        changed = look and self._read()
        if self._footprints.measure(self._workers.pids, now) or changed:
            self._free_memory()
        waiting = self._worker_ids() ^ self._workers.slots
        if changed or waiting:
            self._carry_out()

    def _worker_ids(self) -> set[int]:
        return {i for i, version in self._to_run.items() if version.engine is EngineName.WORKER}

    def _read(self) -> bool:
        """Read what is to run, where that has changed; say whether it has."""
        before = self._snapshot
        if before is not None and self._registry.generation() == before.generation:
            return False
        idle = self._settings.idle_unload
        if before is None:
            self._registry.expire_keep_alives(idle, all_refs=True)
            self._keep_preloads(self._registry.snapshot(idle))
        self._snapshot = snapshot = self._registry.snapshot(idle)
        # A lost bundle that was built again may have another digest: read those anew.
        stale = self._workers.without_bundle
        missing = (snapshot.to_load - self._to_run.keys()) | (snapshot.to_load & stale)
        versions = {**self._to_run, **self._registry.versions_by_id(missing)}
        self._to_run = {i: versions[i] for i in snapshot.to_load if i in versions}
        self._deployments |= self._registry.deployment_names(missing)
        self._deployments = {i: self._deployments[i] for i in self._deployments if i in versions}
        self._footprints.forget_others(snapshot.in_use)
        return True

    def _keep_preloads(self, snapshot: Snapshot) -> None:
        """Ask to keep loaded the workers to start with, as many as may fit."""
        rule = PreloadRule(self._settings.preload, self._settings.preload_limit)
        first = preloads(snapshot.models, rule)
        versions = self._registry.versions_by_id(first)
        workers = [i for i in first if i in versions and _is_worker(versions[i])]
        taken = len(snapshot.kept_alive)
        free = self._settings.worker_memory // self._footprints.size(0) - taken
        new = [i for i in workers if i not in snapshot.kept_alive]
        if new[: max(free, 0)]:
            self._registry.keep_alive(new[:free], by_ref=True)

    def _free_memory(self) -> None:
        """Withdraw the requests for which there is no memory; frontends then let them go."""
        fixed = self._snapshot.deploying if self._snapshot else frozenset()
        ids = self._worker_ids()
        sizes = {i: self._footprints.size(i) for i in ids}
        limit = self._settings.worker_memory
        if sum(sizes.values()) <= limit:
            return
        called = {i: at.timestamp() for i, at in self._registry.keep_alives().items()}
        uses = (Use(i, sizes[i], called.get(i, 0.0), fixed=i in fixed) for i in ids)
        gone = evictions(uses, limit)
        if gone:
            self._registry.withdraw_keep_alives(gone)

    def _carry_out(self) -> None:
        slots = self._workers.slots
        planned = slot_changes(self._to_run, self._registry.loaded_by(self._replica), slots)
        taken = sum(self._footprints.size(i) for i in slots - set(planned.close))
        fixed = self._snapshot.deploying if self._snapshot else frozenset()
        limit = self._settings.worker_memory
        planned = within(planned, fixed, taken, limit, self._footprints.size)
        self._workers.carry_out(planned, self._to_run, self._deployments)


def _is_worker(version: Version) -> bool:
    return version.engine is EngineName.WORKER
