"""Deployment watches: each is read by one task, however many callers watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from pushserve_server.domain.records import Deployment

_LOOK: Final = 0.1
"""How often a watched deployment is read, in seconds."""

Read = Callable[[str], Awaitable[Deployment]]


class DeploymentWatches:
    """The watches of one frontend; for its event loop alone."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._watches: dict[str, _Watch] = {}

    async def follow(self, name: str) -> AsyncGenerator[Deployment]:
        """Give the deployment, then each change, until it has ended.

        Raises:
            What reading it raises; the next who follows it makes it be read again.
        """
        watch = self._watches.get(name)
        if watch is None or watch.task.done():
            watch = self._watches[name] = _Watch(self._read, name)
        watch.watchers += 1
        seen: Deployment | None = None
        try:
            while seen is None or not seen.state.is_final:
                seen = await watch.other_than(seen)
                yield seen
        finally:
            watch.watchers -= 1
            if not watch.watchers:
                watch.task.cancel()
                if self._watches.get(name) is watch:
                    del self._watches[name]


class _Watch:
    """Reads one deployment until it has ended, and tells all who wait for a change."""

    def __init__(self, read: Read, name: str) -> None:
        self.watchers = 0
        self._newest: Deployment | None = None
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._look(read, name))

    async def other_than(self, seen: Deployment | None) -> Deployment:
        """Wait until the deployment is another than `seen`."""
        while self._newest is None or self._newest == seen:
            if self._error is not None:
                raise self._error
            await self._changed.wait()
        return self._newest

    async def _look(self, read: Read, name: str) -> None:
        try:
            # Another process changes it: there is no event to wait for.
            while self._tell(await read(name)):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)
        except Exception as error:  # noqa: BLE001 (those who watch are told)
            self._error = error
            self._changed.set()

    def _tell(self, found: Deployment) -> bool:
        """Tell of a change; say whether there may be more."""
        if found != self._newest:
            self._newest = found
            self._changed.set()
            self._changed = asyncio.Event()
        return not found.state.is_final
