"""Pipeline: the one place that every call of every service on the port passes.

`admit` is called when a call has come, before anything is done about it, and `finished` when it
has ended, whichever transport carries it. Both are quick and never wait. Here identity, limits,
tracing and metrics come in; now they hold the request id, who calls and whether they may, the
limits on calls at a time, and counters.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pushserve_server.access.guard import ANYBODY, Guard
from pushserve_server.api.request_ids import RequestIds
from pushserve_server.api.transport.call import Call, CallerGone, Method, StreamCall
from pushserve_server.errors import DeadlineExceeded, Overloaded, Unavailable, Unimplemented

UNKNOWN: Final = "unknown"
"""The group of calls whose method there is not."""
PROBES: Final = "probes"
"""The group of health checks and the like, which are answered while the server stops, too."""
WATCHES: Final = "watches"
"""The group of streams that end when something else does: they do not hold up a stop."""


@dataclass(slots=True)
class Count:
    """Calls of one method that ended with one code: how many, how long, how large."""

    calls: int = 0
    seconds: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0


class Pipeline:
    """Admits, routes and accounts for calls. Made on the event loop that methods run on.

    `limits` says how many calls of each group are worked on at a time; more are refused. `guard`
    says who may call what; without one, anybody may call everything.
    """

    def __init__(self, limits: Mapping[str, int], guard: Guard | None = None) -> None:
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        self._limits = dict(limits)
        self._in_flight: dict[str, set[Call]] = {group: set() for group in limits}
        self._methods: dict[str, Method] = {}
        self._ids = RequestIds()
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], Count] = defaultdict(Count)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._draining = False
        self._idle = asyncio.Event()

    def add(self, methods: Iterable[Method]) -> None:
        """Serve more methods, also while calls come.

        Raises:
            KeyError: a method's group has no limit, or nobody has said who may call it.
        """
        for method in methods:
            for one in (method, method.items):
                if one is not None:
                    self._limits[one.group]
                    if self._guard is not None:
                        self._guard.rule(one.name)
            self._methods[method.name] = method

    def names(self) -> list[str]:
        """Give the full names of all methods."""
        return list(self._methods)

    def method(self, name: str) -> Method | None:
        """Find what answers a method, by its full name."""
        return self._methods.get(name)

    def unknown(self, call: Call) -> None:
        """Refuse a call of a method that there is not."""
        call.request_id = self._ids.of(call.metadata)
        call.fail(Unimplemented(f"there is no method {call.method.name[:200]!r} here"))

    def recognize(self, call: Call) -> None:
        """Find out who calls, before the request is read: strangers send nothing large.

        Raises:
            Unauthenticated, NotAllowed: as from `admit`.
        """
        if self._guard is not None:
            call.request_id = self._ids.of(call.metadata)
            call.principal = self._guard.admit(call.method.name, call.metadata)

    def admit(self, call: Call) -> None:
        """Let a call in. For an item of a stream, the stream was admitted before.

        Raises:
            Unauthenticated: it has no token, or one that lets nobody in.
            NotAllowed: its token is not for this method.
            Overloaded: as many calls of its group as are allowed are being worked on.
            Unavailable: the server is stopping.
        """
        if not call.request_id:
            call.request_id = self._ids.of(call.metadata)
        group = call.method.group
        if self._draining and group != PROBES and call.method.envelope is None:
            raise Unavailable("the server is stopping", reason="SERVER_STOPPING")
        recognized = call.principal is not ANYBODY and call.method.envelope is None
        if self._guard is not None and not recognized:
            call.principal = self._guard.admit(call.method.name, call.metadata)
        in_flight, most = self._in_flight[group], self._limits[group]
        if len(in_flight) >= most:
            raise Overloaded(f"{most} calls are being worked on; try again shortly")
        in_flight.add(call)

    def finished(self, call: Call, code: int, size: int) -> None:
        """Account for a call that has ended with a code; its answer has `size` bytes."""
        method = call.method
        if method.group in self._in_flight:
            self._in_flight[method.group].discard(call)
            name = method.name
        else:
            name = UNKNOWN  # callers choose these names: they must not fill the table
        if self._draining and not self._busy():
            self._loop.call_soon_threadsafe(self._idle.set)
        seconds = time.perf_counter() - call.started
        with self._lock:
            count = self._counts[name, code]
            count.calls += 1
            count.seconds += seconds
            count.request_bytes += len(call.body)
            count.response_bytes += size

    def counts(self) -> dict[tuple[str, int], Count]:
        """Give what has ended, by method and code."""
        with self._lock:
            return {
                key: Count(c.calls, c.seconds, c.request_bytes, c.response_bytes)
                for key, c in self._counts.items()
            }

    def in_flight(self, group: str) -> int:
        """Give how many calls of a group are being worked on."""
        return len(self._in_flight[group])

    def accept(self, calls: list[Call]) -> None:
        """Admit what has come together, and have it answered."""
        batches: dict[Callable[[list[Any]], None], list[Call]] = {}
        later: list[Call] = []
        for call in calls:
            try:
                self.admit(call)
            except Exception as error:  # noqa: BLE001 (it goes to whose call it was)
                call.fail(error)
                continue
            batch = call.method.batch
            if batch is None:
                later.append(call)
            elif batch in batches:
                batches[batch].append(call)
            else:
                batches[batch] = [call]
        if later:
            self._loop.call_soon_threadsafe(self._begin, later)
        for batch, some in batches.items():
            batch(some)

    def _begin(self, calls: list[Any]) -> None:
        for call in calls:
            task = self._loop.create_task(self._answer(call))
            self._tasks[task] = call.method.group
            task.add_done_callback(self._tasks.pop)
            call.when_gone(partial(self._loop.call_soon_threadsafe, task.cancel))

    async def _answer(self, call: StreamCall) -> None:
        method = call.method
        try:
            if method.unary is not None:
                call.reply(await method.unary(call))
            elif method.stream is not None:
                await _stream(call, method.stream(call))
        except asyncio.CancelledError:
            call.fail(self._why_cancelled())
        except CallerGone:
            call.fail(DeadlineExceeded("the caller gave up"))
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            call.fail(error)

    def _why_cancelled(self) -> Exception:
        if self._draining:
            return Unavailable("the server is stopping", reason="SERVER_STOPPING")
        return DeadlineExceeded("the caller gave up")

    async def drain(self, grace: float) -> None:
        """Refuse new calls, and wait up to `grace` seconds for those under way to be answered.

        Watches are told to come again elsewhere.
        """
        self._draining = True
        for task, group in list(self._tasks.items()):
            if group == WATCHES:
                task.cancel()
        if self._busy():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._idle.wait()

    def _busy(self) -> bool:
        return any(calls for group, calls in self._in_flight.items() if group != PROBES)

    async def close(self) -> None:
        """End what the event loop still works on; nothing is answered after that.

        Called when the transport has stopped.
        """
        self._draining = True
        await asyncio.sleep(0)  # what was handed on last begins
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _stream(call: StreamCall, responses: AsyncIterator[bytes]) -> None:
    async with contextlib.aclosing(responses) as stream:  # type: ignore[type-var]
        async for data in stream:
            await call.send(data)
    call.finish()
