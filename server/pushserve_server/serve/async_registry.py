"""Async registry: the registry awaited, on threads, under the frontend's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from pushserve_server.domain.records import Snapshot, Version
from pushserve_server.registry import Registry
from pushserve_server.wakeups import Wakeups

T = TypeVar("T")


class AsyncRegistry:
    """Runs registry calls on threads, so that the event loop never waits for the disk."""

    def __init__(
        self, registry: Registry, wakeups: Wakeups, frontend: str, threads: int = 4
    ) -> None:
        self._registry = registry
        self._wakeups = wakeups
        self._frontend = frontend
        self._pool = ThreadPoolExecutor(threads, "registry")
        self._remote_pool = ThreadPoolExecutor(8, "remote")

    async def run(self, call: Callable[[Registry], T]) -> T:
        """Run any registry call on a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, call, self._registry)

    async def change(self, call: Callable[[Registry], T]) -> T:
        """Run a call that changes what others serve by, and wake them."""
        result = await self.run(call)
        self._wakeups.wake()
        return result

    async def ask_remote(self, call: Callable[[Registry], T]) -> T:
        """Like `change`, for a call that asks a Git remote first and may take seconds.

        It has threads of its own, so that a slow remote does not hold up the registry.
        """
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._remote_pool, call, self._registry)
        self._wakeups.wake()
        return result

    async def generation(self) -> int:
        """Give the counter that grows with every change."""
        return await self.run(lambda registry: registry.generation())

    async def live_frontends(self, ttl: float) -> list[tuple[str, int]]:
        """Give the frontends seen in `ttl` seconds and the generations that they serve by."""
        return await self.run(lambda registry: registry.live_frontends(now(), ttl))

    async def snapshot(self, idle_unload: float) -> Snapshot:
        """Read what is to be served."""
        return await self.run(lambda registry: registry.snapshot(now(), idle_unload))

    async def versions(self, ids: Iterable[int]) -> dict[int, Version]:
        """Read version rows, which never change."""
        wanted = frozenset(ids)
        return await self.run(lambda registry: registry.versions_by_id(wanted))

    async def find_version(self, model: str, *, number: int | None, commit: str | None) -> Version:
        """Find a version by number or commit."""
        return await self.run(
            lambda registry: registry.find_version(model, number=number, commit=commit)
        )

    async def keep_alive(self, version_ids: Collection[int], *, by_ref: bool) -> None:
        """Say that calls need some versions."""
        await self.change(lambda registry: registry.keep_alive(version_ids, now(), by_ref=by_ref))

    async def record_load(self, version_id: int, error: str | None) -> None:
        """Say that this frontend has loaded a version, or why it could not."""
        await self.change(lambda registry: registry.record_load(self._frontend, version_id, error))

    async def forget_load(self, version_id: int) -> None:
        """Say that this frontend no longer needs a version."""
        await self.change(lambda registry: registry.forget_load(self._frontend, [version_id]))

    async def started(self, replica: str) -> None:
        """Announce this frontend."""
        await self.change(
            lambda registry: registry.frontend_started(self._frontend, replica, now())
        )

    async def heartbeat(self, generation: int) -> None:
        """Say that this frontend lives and which generation it serves by."""
        await self.change(lambda registry: registry.heartbeat(self._frontend, generation, now()))

    async def stopped(self) -> None:
        """Take this frontend's row away."""
        await self.change(lambda registry: registry.frontend_stopped(self._frontend))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._remote_pool.shutdown(wait=False, cancel_futures=True)


def now() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)
