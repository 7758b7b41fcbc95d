"""Version cache: the versions that one frontend has loaded, and how they come and go.

Graphs live in this process: they are loaded one at a time, and those not called for the
longest time are unloaded for others. Workers are processes of the server: to load one is to put a
keep-alive request into the registry, by which the supervisor starts it, and to connect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from pushserve_server.domain.loading_rules import Use, evictions
from pushserve_server.domain.records import EngineName, Snapshot, Version
from pushserve_server.errors import NotFound, PushserveError, Unavailable
from pushserve_server.serve.async_registry import AsyncRegistry
from pushserve_server.serve.engines.engine import Engine
from pushserve_server.serve.malloc import Trimmer
from pushserve_server.serve.models.loaded_version import LoadedVersion

logger = logging.getLogger(__name__)

MakeEngine = Callable[[Version], Engine]
MakeLoadedVersion = Callable[[Version, Engine], LoadedVersion]
Changed = Callable[[Version], None]
Check = Callable[[LoadedVersion], Awaitable[None]]
"""Tries a version that is about to go live; raises ModelFailed where it must not."""

_RETRY_LOAD: Final = 1.0
_RETRY_FAILED: Final = 30.0
"""A version that could not be loaded may be tried again after so many seconds."""
_KEEP_ALIVE_AGAIN: Final = 2.0
"""A keep-alive request that was withdrawn while calls wait is made anew after so many seconds."""


class VersionCache:
    """Loads and unloads. Lives on one event loop.

    `live` holds what is loaded, `failed` why others are not, both by version id; `changed`
    is called after every change to either. `check` tries what a deployment takes live.
    """

    def __init__(
        self,
        store: AsyncRegistry,
        make_engine: MakeEngine,
        make_loaded: MakeLoadedVersion,
        changed: Changed,
        graph_memory: int,
        *,
        check: Check | None = None,
    ) -> None:
        self.live: dict[int, LoadedVersion] = {}
        self.failed: dict[int, str] = {}
        self._store = store
        self._make_engine = make_engine
        self._make_loaded = make_loaded
        self._changed = changed
        self._graph_memory = graph_memory
        self._check = check
        self._snapshot = Snapshot(-1, (), frozenset(), frozenset(), frozenset())
        self._failed_at: dict[int, float] = {}
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._asked: dict[int, Version] = {}
        self._waiting: Counter[int] = Counter()
        self._sizes: dict[int, int] = {}
        self._recorded: set[int] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._one_graph = asyncio.Lock()
        self._trimmer = Trimmer()

    def follow(self, snapshot: Snapshot) -> None:
        """Take over what has to be loaded and what may be."""
        self._snapshot = snapshot
        wanted = snapshot.in_use
        for version_id in snapshot.deploying - self._recorded:
            if version_id in self.live:
                self._later(self._record(version_id))
            else:
                self.need(version_id)
        for version_id in self.failed.keys() - wanted:
            del self.failed[version_id], self._failed_at[version_id]
            self._later(self._forget(version_id))
        for version_id in self._sizes.keys() - wanted - self.live.keys():
            del self._sizes[version_id]
        for version_id in [i for i in self._loading if not self._goes_on(i)]:
            self._loading.pop(version_id).cancel()

    def _goes_on(self, version_id: int) -> bool:
        """Whether a load makes sense still; a worker's may have lost its keep-alive request."""
        version = self._asked.get(version_id)
        if version is None or version.engine is EngineName.ONNX:
            return version_id in self._snapshot.in_use or version_id in self._waiting
        return version_id in self._snapshot.to_load or version_id in self._waiting

    def need(self, version_id: int) -> asyncio.Task[None]:
        """Load a version, unless that is being done."""
        task = self._loading.get(version_id)
        if task is None:
            task = asyncio.create_task(self._load(version_id))
            self._loading[version_id] = task
        return task

    async def loaded(self, version_id: int) -> None:
        """Wait until a load has ended one way or the other; who waits may be cancelled."""
        self._waiting[version_id] += 1
        try:
            task = self.need(version_id)
            while not (await asyncio.wait({task}, timeout=_KEEP_ALIVE_AGAIN))[0]:
                version = self._asked.get(version_id)
                if version is not None:
                    await self._keep_alive(version)
        finally:
            self._waiting[version_id] -= 1
            if not self._waiting[version_id]:
                del self._waiting[version_id]

    def failure(self, version_id: int) -> str | None:
        """Say why a version cannot be loaded, while it makes no sense to try again."""
        if time.monotonic() - self._failed_at.get(version_id, -_RETRY_FAILED) >= _RETRY_FAILED:
            return None
        return self.failed.get(version_id)

    async def _load(self, version_id: int) -> None:
        version = error = None
        try:
            version = self._asked[version_id] = await self._version(version_id)
            live = await self._try_until_loaded(version)
        except PushserveError as failure:
            error = failure.message
        except Exception:
            logger.exception("loading version %d", version_id)
            error = "the version could not be loaded; the server's log says why"
        finally:
            if self._loading.get(version_id) is asyncio.current_task():
                del self._loading[version_id]
                self._asked.pop(version_id, None)
        if error is None:
            self.live[version_id] = live
            self.failed.pop(version_id, None)
            logger.info("loaded %s v%d (%s)", *_named(live.version), live.version.engine)
        else:
            self.failed[version_id] = error
            self._failed_at[version_id] = time.monotonic()
        if version is not None:
            self._changed(version)
            self._free_memory()
            if version.engine is EngineName.WORKER or version_id in self._snapshot.deploying:
                await self._record(version_id)

    async def _version(self, version_id: int) -> Version:
        found = await self._store.versions([version_id])
        if version_id not in found:
            raise NotFound("version", str(version_id), "the version was deleted meanwhile")
        return found[version_id]

    async def _try_until_loaded(self, version: Version) -> LoadedVersion:
        while True:
            engine = self._make_engine(version)
            try:
                await self._keep_alive(version)
                await self._open(version, engine)
                return await self._checked(self._make_loaded(version, engine))
            except Unavailable as failure:
                logger.warning("%s v%d: %s", *_named(version), failure)
                await engine.close()
            except BaseException:
                await engine.close()
                raise
            await asyncio.sleep(_RETRY_LOAD)
            # A bundle that was lost is built again, maybe under another digest.
            version = await self._version(version.id)

    async def _checked(self, live: LoadedVersion) -> LoadedVersion:
        """Give a version that has been tried, if it is about to go live."""
        if self._check is not None and live.version.id in self._snapshot.deploying:
            await self._check(live)
        return live

    async def _open(self, version: Version, engine: Engine) -> None:
        if version.engine is EngineName.WORKER:
            await engine.load()
            return
        async with self._one_graph:
            # One that was loaded before needs what it took then.
            await asyncio.gather(*self._free_memory(self._sizes.get(version.id, 0)))
            await engine.load()
            self._sizes[version.id] = engine.size

    async def _keep_alive(self, version: Version) -> None:
        """Tell the registry, where a version is not held or run without that."""
        snapshot, i = self._snapshot, version.id
        by_ref = i in snapshot.referenced
        if i not in snapshot.to_load and (version.engine is EngineName.WORKER or not by_ref):
            await self._store.keep_alive([i], by_ref=by_ref)

    async def report_calls(self, since: float) -> None:
        """Renew the keep-alive requests of versions called after `since` (monotonic)."""
        called = {
            i
            for i, live in self.live.items()
            if i in self._snapshot.kept_alive and (live.busy or live.called_at >= since)
        }
        for by_ref in (True, False):
            ids = {i for i in called if (i in self._snapshot.referenced) is by_ref}
            if ids:
                await self._store.keep_alive(ids, by_ref=by_ref)

    def fits(self, version_id: int) -> bool:
        """Whether a graph would fit without another one being unloaded."""
        loaded = [self._sizes.get(i, 0) for i in self.live]
        one = self._sizes.get(version_id) or max(loaded, default=0)
        return sum(loaded) + one <= self._graph_memory

    def _free_memory(self, more: int = 0) -> list[asyncio.Task[None]]:
        """Unload graphs until `more` bytes fit; give the tasks that do it."""
        snapshot = self._snapshot
        uses = (
            Use(i, live.engine.size, live.called_at, live.busy, i in snapshot.deploying)
            for i, live in self.live.items()
            if live.engine.size
        )
        return [self.unload(i) for i in evictions(uses, self._graph_memory - more)]

    def drop_unless(self, kept: Callable[[Version], bool], ids: Iterable[int]) -> None:
        """Unload those of these versions that need not be kept."""
        for version_id in [i for i in ids if i in self.live]:
            if not kept(self.live[version_id].version):
                self.unload(version_id)

    def unload(self, version_id: int) -> asyncio.Task[None]:
        """Take a version away from new calls, and let it go when those in flight have ended."""
        live = self.live.pop(version_id)
        self._changed(live.version)
        return self._later(self._close(live))

    async def _close(self, live: LoadedVersion) -> None:
        await live.close()
        version = live.version
        logger.info("unloaded %s v%d", *_named(version))
        if live.engine.size:
            self._trimmer.soon()
        if version.id not in self.live:
            await self._forget(version.id)

    async def _record(self, version_id: int) -> None:
        try:
            await self._store.record_load(version_id, self.failed.get(version_id))
            self._recorded.add(version_id)
        except Unavailable as failure:  # the next snapshot brings another try
            logger.warning(
                "it cannot be recorded that version %d is loaded: %s", version_id, failure
            )

    async def _forget(self, version_id: int) -> None:
        if version_id not in self._recorded:
            return
        self._recorded.discard(version_id)
        try:
            await self._store.forget_load(version_id)
        except Unavailable as failure:
            logger.warning(
                "it cannot be recorded that version %d is unloaded: %s", version_id, failure
            )

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Stop loading and let every version go."""
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), *self._background, return_exceptions=True)
        await asyncio.gather(*(live.engine.close() for live in self.live.values()))
        self.live.clear()
        await self._trimmer.close()


def _named(version: Version) -> tuple[str, int]:
    return version.model, version.number
