"""Model table: what one frontend serves; it follows the registry, loads beside, then swaps.

`ModelTable.follow` takes over the registry's snapshot. What is being deployed is loaded, and
what moves away from a loaded version; everything else is loaded by the operator's rule or
by its first call. Only the entries of models that changed are made anew. Calls that began
on a version end on it, and only then is it unloaded.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable
from typing import Final

from pushserve_runtime.closest_name import did_you_mean
from pushserve_server.domain.loading_rules import PreloadRule, preloads
from pushserve_server.domain.records import EngineName, ModelRoutes, Snapshot, Version
from pushserve_server.domain.ref_names import short_name
from pushserve_server.errors import ModelFailed, NotFound, Unavailable
from pushserve_server.registry.request_texts import check_text
from pushserve_server.serve.async_registry import AsyncRegistry
from pushserve_server.serve.engines.engine import Engine
from pushserve_server.serve.models.loaded_version import LoadedVersion
from pushserve_server.serve.models.routing import RoutingEntry, RoutingTable, build_entry
from pushserve_server.serve.models.version_cache import Check, MakeEngine, VersionCache

logger = logging.getLogger(__name__)

LOAD_PATIENCE: Final = 20.0
"""How long a call waits for a version to load, in seconds."""
_REPORT: Final = 5.0
"""How often the registry is told which keep-alive requests go on, in seconds."""
_WORKERS_ASKED: Final = 5.0
"""How long the supervisor may take to ask for the workers to start with, in seconds."""
_FIRST_LOADS: Final = 60.0
"""How long this server may not be ready for what is loaded first, in seconds."""
_NAMED: Final = 8
"""How many names an error shows."""


class ModelTable:
    """Loaded versions and the table by which calls find them.

    Lives on one event loop; `route` and `loaded_version` are called from other threads, too.
    """

    def __init__(
        self,
        store: AsyncRegistry,
        make_engine: MakeEngine,
        *,
        max_rows: int,
        max_wait: float,
        idle_unload: float,
        graph_memory: int,
        preload: PreloadRule,
        check: Check | None = None,
    ) -> None:
        def make_loaded(version: Version, engine: Engine) -> LoadedVersion:
            return LoadedVersion(version, engine, max_rows=max_rows, max_wait=max_wait)

        self._store = store
        self._cache = VersionCache(
            store, make_engine, make_loaded, self._changed, graph_memory, check=check
        )
        self._preload = preload
        self._preloading: asyncio.Task[None] | None = None
        self._pending: dict[int, None] = {}
        self._first: frozenset[int] = frozenset()
        self._began = time.monotonic()
        self._report_every = min(_REPORT, idle_unload / 4)
        self._reported_at = time.monotonic()
        self._snapshot: Snapshot | None = None
        self._to_load = self._in_use = frozenset[int]()
        self._routes: dict[str, ModelRoutes] = {}
        self._table: dict[str, RoutingEntry] = {}
        self._stale: set[str] = set()
        self._touched: set[str] = set()
        self._with_workers: set[str] = set()
        self._found: dict[tuple[str, int | None, str | None], Version] = {}

    @property
    def table(self) -> RoutingTable:
        """The routing table as it is now."""
        return self._table

    @property
    def applied(self) -> int:
        """Generation of the registry that calls are answered by; -1 before the first."""
        if self._snapshot is None or self._stale:
            return -1
        return self._snapshot.generation

    def route(self, model: str, ref: str = "") -> LoadedVersion | None:
        """Give the version that answers for a ref, or None while it is not loaded.

        Raises:
            NotFound: no such model or ref; the text names those that exist.
        """
        entry = self._table.get(model)
        if entry is None:
            raise _no_model(model, self._table)
        if not ref and entry.default is not None:
            return entry.default
        full = entry.full_name(ref)
        if full is None:
            raise _no_ref(entry, ref)
        return entry.loaded.get(full)

    async def wait_for_route(self, model: str, ref: str = "") -> LoadedVersion:
        """Like `route`, loading the version if need be.

        Raises:
            ModelFailed: it cannot be loaded.
            Unavailable: it is still being loaded.
        """

        def look() -> LoadedVersion | int:
            live = self.route(model, ref)
            if live is not None:
                return live
            entry = self._table[model]
            return entry.targets[entry.full_name(ref) or ""]

        return await self._wait(look, f"{model} {ref}".strip())

    def loaded_version(
        self, model: str, *, number: int | None, commit: str | None
    ) -> LoadedVersion | None:
        """Give a version that calls have asked for before, while it is loaded."""
        version = self._found.get((model, number, commit))
        return None if version is None else self._cache.live.get(version.id)

    async def version(self, model: str, *, number: int | None, commit: str | None) -> LoadedVersion:
        """Give a version by number or commit, loading it if need be.

        Raises:
            NotFound: no such model or version.
            ModelFailed, Unavailable: as `wait_for_route`.
        """
        if model not in self._table:
            raise _no_model(model, self._table)
        key = (model, number, commit)
        version = self._found.get(key)
        if version is None:
            version = await self._store.find_version(model, number=number, commit=commit)
            self._found[key] = version
        wanted, live = version.id, self._cache.live
        what = f"version {version.number} of {model}"
        return live.get(wanted) or await self._wait(lambda: live.get(wanted, wanted), what)

    async def _wait(self, look: Callable[[], LoadedVersion | int], what: str) -> LoadedVersion:
        """Load the version that `look` gives the id of, until it gives it loaded."""
        try:
            async with asyncio.timeout(LOAD_PATIENCE):
                while True:
                    found = look()
                    if isinstance(found, LoadedVersion):
                        return found
                    if self._cache.failure(found) is not None:
                        raise ModelFailed(f"{what} cannot be loaded")
                    await self._cache.loaded(found)
        except TimeoutError:
            message = f"{what} is still being loaded"
            raise Unavailable(message, 1.0, reason="MODEL_LOADING") from None

    async def follow(self, snapshot: Snapshot) -> None:
        """Take over a new snapshot: start loads, swap what is loaded, unload the rest."""
        before, self._snapshot = self._snapshot, snapshot
        self._to_load, self._in_use = snapshot.to_load, snapshot.in_use
        self._found.clear()
        self._cache.follow(snapshot)
        self._follow_routes({routes.name: routes for routes in snapshot.models})
        fresh = snapshot.kept_alive - (before.kept_alive if before else frozenset())
        for version_id in fresh - self._cache.live.keys():
            self._cache.need(version_id)
        self._cache.drop_unless(self._is_kept, list(self._cache.live))
        if before is None:
            first = preloads(snapshot.models, self._preload)
            self._pending = dict.fromkeys(i for i in first if i not in self._to_load)
            self._first = frozenset(self._pending) | (self._to_load & snapshot.referenced)
            self._preloading = asyncio.create_task(self._load_first())

    def _follow_routes(self, routes: dict[str, ModelRoutes]) -> None:
        before, self._routes = self._routes, routes
        for name in before.keys() - routes.keys():
            del self._table[name]
            self._stale.discard(name)
            self._touched.add(name)
        for name, one in routes.items():
            if before.get(name) != one:
                self._refresh(name)

    def _refresh(self, name: str) -> None:
        """Make a model's entry anew, and load what its refs have moved to."""
        before = self._table.get(name)
        entry = build_entry(self._routes[name], self._cache.live, self._cache.failed, before)
        self._table[name] = entry
        self._touched.add(name)
        (self._stale.add if entry.stale else self._stale.discard)(name)
        for ref in entry.stale:
            self._cache.need(entry.targets[ref])
        if before is not None:
            left = {live.version.id for live in before.loaded.values()}
            self._cache.drop_unless(self._is_kept, left)

    def _changed(self, version: Version) -> None:
        self._pending.pop(version.id, None)
        if version.model in self._table:
            self._refresh(version.model)
            if version.engine is EngineName.WORKER:
                self._with_workers.add(version.model)

    def _is_kept(self, version: Version) -> bool:
        """Whether a loaded version stays: it may be called, or nothing newer answers yet."""
        held = self._to_load if version.engine is EngineName.WORKER else self._in_use
        if version.id in held:
            return True
        entry = self._table.get(version.model)
        return entry is not None and any(
            live.version.id == version.id != entry.targets[ref]
            for ref, live in entry.loaded.items()
        )

    async def _load_first(self) -> None:
        """Load graphs by the operator's rule, one after the other, while there is memory.

        Workers among them come by keep-alive requests, which the supervisor makes.
        """
        versions = await self._store.versions(self._pending)
        workers = [i for i, one in versions.items() if one.engine is EngineName.WORKER]
        for version_id in [i for i in self._pending if i not in workers]:
            graph = version_id in versions and version_id not in self._cache.live
            if graph and self._cache.fits(version_id):
                await asyncio.wait({self._cache.need(version_id)})
            self._pending.pop(version_id, None)
        if workers:  # those that are not asked for by then are loaded by their first call
            await asyncio.sleep(_WORKERS_ASKED - (time.monotonic() - self._began))
        for version_id in workers:
            self._pending.pop(version_id, None)

    def readiness(self) -> dict[str, bool | None]:
        """Give the models that may have changed since the last time.

        True is one whose default ref answers, at once or after its first call has loaded
        it; None is one that is gone.
        """
        names = self._touched | self._with_workers
        ready = {
            name: self._is_ready(self._table[name]) if name in self._table else None
            for name in names
        }
        self._with_workers -= {name for name in names if ready[name] is None}
        # Those that wait to be loaded, or to be tried again, change without being touched.
        self._touched = {name for name in names if ready[name] is False}
        return ready

    def _is_ready(self, entry: RoutingEntry) -> bool:
        if entry.default is not None:
            return entry.default.engine.ready
        wanted = entry.targets.get(entry.default_ref)
        return wanted is not None and not (
            (wanted in self._first and self._is_due(wanted))
            or self._cache.failure(wanted) is not None
        )

    @property
    def has_begun(self) -> bool:
        """Whether what is loaded first has been, can not be, or has taken too long."""
        if self._snapshot is None:
            return False
        late = time.monotonic() - self._began > _FIRST_LOADS
        self._first = frozenset() if late else frozenset(filter(self._is_due, self._first))
        return not self._first

    def _is_due(self, version_id: int) -> bool:
        """Whether a version of those that are loaded first is waited for."""
        if version_id in self._cache.live or self._cache.failure(version_id) is not None:
            return False
        return version_id in self._pending or version_id in self._to_load

    async def report_calls(self, now: float) -> None:
        """Once in a while, tell the registry what is still called. `now` is monotonic."""
        if now - self._reported_at >= self._report_every:
            since, self._reported_at = self._reported_at, now
            await self._cache.report_calls(since)

    async def close(self) -> None:
        """Stop loading and let every version go."""
        if self._preloading is not None:
            self._preloading.cancel()
            await asyncio.gather(self._preloading, return_exceptions=True)
        await self._cache.close()


def _no_model(model: str, table: RoutingTable) -> NotFound:
    check_text("model", model)
    # A list first: calls look here from another thread than the one that changes the table.
    names = list(table)
    shown = ", ".join(heapq.nsmallest(_NAMED, names)) or "none yet"
    text = f"there is no model {model!r}; models here: {shown}"
    return NotFound("model", model, did_you_mean(text, model, names))


def _no_ref(entry: RoutingEntry, ref: str) -> NotFound:
    check_text("ref", ref)
    names = [short_name(target) for target in entry.targets]
    shown = ", ".join(heapq.nsmallest(_NAMED, names)) or "none yet"
    text = (
        f"model {entry.name!r} has no ref {ref!r}; refs here: {shown}"
        if ref
        else f"the default branch of model {entry.name!r} is not served, and calls that name no "
        f"ref go nowhere else; refs here: {shown}"
    )
    return NotFound("ref", f"{entry.name}@{ref}", did_you_mean(text, short_name(ref), names))
