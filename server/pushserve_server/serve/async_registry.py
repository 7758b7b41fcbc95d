"""Async registry: the registry awaited, on threads, under the frontend's name.

What callers ask for has threads of its own, so that however much they ask, this frontend goes
on following the registry; and the heartbeat has one of its own, so that it does not seem dead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from pushserve_server.domain.access_token import AccessToken
from pushserve_server.domain.records import Deployment, Snapshot, Version
from pushserve_server.registry import Registry
from pushserve_server.serve.deployment_watches import DeploymentWatches

T = TypeVar("T")


class AsyncRegistry:
    """Runs registry calls on threads, so that the event loop never waits for the disk."""

    def __init__(
        self,
        registry: Registry,
        frontend: str,
        threads: int = 4,
        remote_threads: int = 64,
    ) -> None:
        self._registry = registry
        self._frontend = frontend
        self._replica = ""
        self._callers = ThreadPoolExecutor(threads, "registry")
        self._serving = ThreadPoolExecutor(2, "serving")
        self._heartbeats = ThreadPoolExecutor(1, "heartbeat")
        self._remotes = ThreadPoolExecutor(remote_threads, "remote")
        self._watches = DeploymentWatches(self._deployment)
        self._loads: dict[int, str | None] = {}
        self._loads_lock = threading.Lock()

    async def run(self, call: Callable[[Registry], T]) -> T:
        """Run any registry call that somebody waits for on a thread."""
        return await self._on(self._callers, call)

    async def ask_remote(self, call: Callable[[Registry], T]) -> T:
        """Like `run`, for a call that asks a Git remote first and may take seconds.

        It has threads of its own, so that a slow remote does not hold up the registry: one for
        each call that may come, so that it does not hold up calls for other remotes either.
        """
        return await self._on(self._remotes, call)

    async def _on(self, pool: Executor, call: Callable[[Registry], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, call, self._registry)

    async def generation(self) -> int:
        """Give the counter that grows with every change."""
        return await self._on(self._serving, lambda registry: registry.generation())

    async def live_frontends(self, ttl: float) -> list[tuple[str, int]]:
        """Give the frontends seen in `ttl` seconds and the generations that they serve by."""
        return await self.run(lambda registry: registry.live_frontends(ttl))

    async def snapshot(self, idle_unload: float) -> Snapshot:
        """Read what is to be served."""
        return await self._on(self._serving, lambda registry: registry.snapshot(idle_unload))

    async def tokens(self) -> list[AccessToken]:
        """Read the tokens that callers show."""
        return await self._on(self._serving, lambda registry: registry.issued_tokens())

    async def note_token_uses(self, uses: Mapping[str, datetime]) -> None:
        """Note when tokens were used last."""
        await self._on(self._heartbeats, lambda registry: registry.note_token_uses(uses))

    async def versions(self, ids: Iterable[int]) -> dict[int, Version]:
        """Read version rows, which never change."""
        wanted = frozenset(ids)
        return await self._on(self._serving, lambda registry: registry.versions_by_id(wanted))

    async def find_version(self, model: str, *, number: int | None, commit: str | None) -> Version:
        """Find a version by number or commit."""
        return await self.run(
            lambda registry: registry.find_version(model, number=number, commit=commit)
        )

    def watch(self, name: str) -> AsyncGenerator[Deployment]:
        """Give the deployment, then each change, until it has ended.

        However many watch one deployment, it is read once for all of them.

        Raises:
            NotFound: there is none of that name.
        """
        return self._watches.follow(name)

    async def _deployment(self, name: str) -> Deployment:
        return await self.run(lambda registry: registry.get_deployment(name))

    async def keep_alive(self, version_ids: Collection[int], *, by_ref: bool) -> None:
        """Say that calls need some versions."""
        await self._on(
            self._serving, lambda registry: registry.keep_alive(version_ids, by_ref=by_ref)
        )

    async def record_load(self, version_id: int, error: str | None) -> None:
        """Say that this frontend has loaded a version, or why it could not."""

        def record(registry: Registry) -> None:
            with self._loads_lock:
                self._loads[version_id] = error
                registry.record_load(self._frontend, version_id, error)

        await self._on(self._serving, record)

    async def forget_load(self, version_id: int) -> None:
        """Say that this frontend no longer needs a version."""

        def forget(registry: Registry) -> None:
            with self._loads_lock:
                self._loads.pop(version_id, None)
                registry.forget_load(self._frontend, [version_id])

        await self._on(self._serving, forget)

    async def started(self, replica: str) -> None:
        """Announce this frontend."""
        self._replica = replica
        await self._on(
            self._heartbeats, lambda registry: registry.frontend_started(self._frontend, replica)
        )

    async def heartbeat(self, generation: int) -> None:
        """Say that this frontend lives and which generation it serves by."""

        def beat(registry: Registry) -> None:
            if not registry.heartbeat(self._frontend, self._replica, generation):
                self._record_loads_again(registry)

        await self._on(self._heartbeats, beat)

    def _record_loads_again(self, registry: Registry) -> None:
        """The registry took this frontend for dead, and what it had loaded for gone."""
        with self._loads_lock:
            for version_id, error in self._loads.items():
                registry.record_load(self._frontend, version_id, error)

    async def stopped(self) -> None:
        """Take this frontend's row away, after the last heartbeat."""
        await self._on(self._heartbeats, lambda registry: registry.frontend_stopped(self._frontend))

    def close(self) -> None:
        """End the threads."""
        for pool in (self._callers, self._serving, self._heartbeats):
            pool.shutdown(wait=True, cancel_futures=True)
        self._remotes.shutdown(wait=False, cancel_futures=True)
