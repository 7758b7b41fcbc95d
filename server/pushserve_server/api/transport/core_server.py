"""Core transport: takes all calls of a port from gRPC's core, on one thread.

On every call grpc.aio spends three tasks and as many hops between threads: several times what
the call of a small model takes. Here one thread empties the core's completion queue. What has
come by then is handed on together, so under load calls come in batches, and nobody waits for
others (docs/decisions/0010-core-transport.md).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import grpc

from pushserve_server.api.transport.bounds import Bounds
from pushserve_server.api.transport.call import Call, Listener, Method
from pushserve_server.api.transport.core_binding import (
    OPERATION_COMPLETE,
    QUEUE_SHUTDOWN,
    CompletionQueue,
    Server,
    core_credentials,
)
from pushserve_server.api.transport.core_calls import CoreCall, CoreStreamCall
from pushserve_server.api.transport.core_item_stream import CoreItemStream
from pushserve_server.api.transport.receiving_turns import ReceivingTurns
from pushserve_server.errors import DeadlineExceeded, Overloaded

logger = logging.getLogger(__name__)

_READY: Final = 64
"""Calls that the core can hand over before it is asked for more."""
_MOST: Final = 4096
"""Events that are taken before the calls among them are answered; a call has three."""
_LOOK: Final = 0.2
"""How often the thread looks around when nothing comes, in seconds; poll itself wakes as often."""
_AT_ONCE: Final = 0
"""A deadline that has passed: what is there comes without waiting."""
_SENT_LOOK: Final = 0.01
_AFTER_CANCEL: Final = 5.0
"""How long cancelled calls may take to end, in seconds."""


class CoreServer:
    """One port of gRPC's core, and the thread that takes its calls.

    `beat` is called by the thread as long as it goes on, several times a second.
    """

    def __init__(
        self,
        listener: Listener,
        options: list[tuple[str, int]],
        bounds: Bounds,
        beat: Callable[[], object] = lambda: None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.listener = listener
        self._credentials = credentials
        self.turns = ReceivingTurns()
        self.accepted: list[Call] = []
        self.receiving: dict[CoreCall, float] = {}
        self.unsent: dict[CoreCall, tuple[float, int]] = {}
        self._bounds = bounds
        self._beat = beat
        self._looked_at = 0.0
        self._queue = CompletionQueue()
        self._server = Server(options, False)
        self._server.register_completion_queue(self._queue)
        self._stopping = False
        self._ended = threading.Event()
        self._all_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="core-transport", daemon=True)

    def listen(self, address: str) -> int:
        """Bind an address ("127.0.0.1:0"); give its port.

        Raises:
            OSError: it cannot be had.
        """
        try:
            port = int(
                self._server.add_http2_port(address.encode(), core_credentials(self._credentials))
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        if not port:
            raise OSError(f"cannot listen on {address}; is the port taken?")
        return port

    async def start(self) -> None:
        """Begin to take calls."""
        self._server.start()
        for _ in range(_READY):
            self._await_call()
        self._thread.start()

    async def stop(self, grace: float) -> None:
        """Refuse new calls; let those under way end in `grace` seconds, then end them.

        The core would not do: a call that comes while it shuts down, before its peer hears of
        that, is CANCELLED, which tells nobody that it may be tried again. So all calls are
        answered first, if by a refusal; then the connections are closed at once.
        What was handed on may still be answered, until `close`.
        """
        end = time.monotonic() + grace
        self.turns.open()
        await self.listener.drain(grace)
        while self.unsent and time.monotonic() < end:  # noqa: ASYNC110 (another thread's)
            await asyncio.sleep(_SENT_LOOK)
        self._server.shutdown(self._queue, self._shut_down)
        self._server.cancel_all_calls()
        await asyncio.to_thread(self._all_ended.wait, _AFTER_CANCEL)
        self._stopping = True
        await asyncio.to_thread(self._thread.join)

    def close(self) -> None:
        """Shut the queue down. Whoever answers a call after that aborts the process.

        What is still in it is of calls that the server has ended, and dropped.
        """
        self._queue.shutdown()
        while self._queue.poll().completion_type != QUEUE_SHUTDOWN:
            pass
        self._server.destroy()

    def _shut_down(self, event: Any) -> None:
        self._all_ended.set()

    def _await_call(self) -> None:
        self._server.request_call(self._queue, self._queue, self._arrived)

    def _arrived(self, event: Any) -> None:
        """Start a call, then ask for the next one.

        In this order: asking fails once the server is stopping, and a call that came in the last
        moment has to be answered all the same.
        """
        if not event.success:  # the server is stopping
            return
        try:
            self._start(event)
        finally:
            with suppress(ValueError):  # the server is stopping
                self._await_call()

    def _start(self, event: Any) -> None:
        name: str = event.call_details.method.decode(errors="replace")
        method = self.listener.method(name)
        if method is None:
            self.listener.unknown(CoreCall(self, event, Method(name, "unknown")))
        elif method.items is not None:
            CoreItemStream(self, event, method, method.items).start()
        elif method.stream is not None:
            CoreStreamCall(self, event, method).start()
        else:
            CoreCall(self, event, method).start()

    def _run(self) -> None:
        while not self._stopping:
            self._take_what_has_come()
            if self.accepted:
                calls = self.accepted.copy()
                self.accepted.clear()
                self._hand_on(calls)
            now = time.monotonic()
            if now - self._looked_at >= _LOOK:
                self._looked_at = now
                self.turns.forget()
                self._beat()
                self._bound(now)

    def _take_what_has_come(self) -> None:
        """Wait a little for an event; do what it and all others that are there ask for."""
        poll = self._queue.poll
        event, taken = poll(time.time() + min(_LOOK, self.turns.go_on())), 0
        while event.completion_type == OPERATION_COMPLETE:
            try:
                event.tag(event)
            except Exception:
                logger.exception("an event of the core transport was lost")
            taken += 1
            if taken == _MOST:
                break
            event = poll(_AT_ONCE)

    def _hand_on(self, calls: list[Call]) -> None:
        try:
            self.listener.accept(calls)
        except Exception as error:  # noqa: BLE001 (a defect: nobody is left waiting, it is logged)
            for call in calls:
                call.fail(error)

    def _bound(self, now: float) -> None:
        """End the calls that hold memory for too long: see `bounds`."""
        late, crowding = self._bounds.receiving(list(self.receiving.items()), now)
        for call in late:
            call.fail(DeadlineExceeded("the request did not arrive in time"))
        for call in crowding:
            call.fail(Overloaded("too many requests arrive slowly; try again shortly"))
        for call in self._bounds.unsent(list(self.unsent.items()), now):
            call.cancel()
