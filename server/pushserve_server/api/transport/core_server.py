"""Core transport: takes the calls of some methods from gRPC's core, past grpc.aio.

On every call grpc.aio spends three tasks and as many hops between threads: several times what
the call of a small model takes. A method that is registered with the core has a completion
queue of its own here, which one thread empties. What has come by then is handed on together,
so under load calls come in batches, and nobody waits for others. All other methods stay with
grpc.aio, on the same port.

This module and `calls` alone know the core's Python binding, whose interface is not a stable one
(docs/decisions/0010-core-transport.md).
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from pushserve_server.api.transport.core_calls import Call

logger = logging.getLogger(__name__)

OPTIONS: Final = (
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 16_384),
)
"""What the transport has not asked for yet waits in the core, which cancels calls at random beyond
1,000 and gives no reason; whoever handles them refuses them better."""

StartCall = Callable[[Any, Callable[[Call], None]], object]
"""Takes up the call of a core's event; gives what is asked to its second argument."""

_READY: Final = 64
"""Calls of each method that the core can hand over before it is asked for more."""
_MOST: Final = 4096
"""Events that are taken before what was asked is answered; a call has three."""
_LOOK: Final = 0.2
"""How often the thread looks whether it is to end, in seconds; poll itself wakes as often."""
_AT_ONCE: Final = 0
"""A deadline that has passed: what is there comes without waiting."""


class CoreTransport:
    """One completion queue and the thread that empties it.

    Made before the server starts; `start` comes after that, `stop` when it has stopped, and
    `close` when nobody answers calls any more.
    `handle` is called on the thread with what was asked since the last time.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        methods: Mapping[str, StartCall],
        handle: Callable[[list[Call]], None],
    ) -> None:
        self._core = _core_of(server)
        self._handle = handle
        self._accepted: list[Call] = []
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        for method in methods:
            self._core.register_method(method)
        self._methods = methods
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="core-transport", daemon=True)

    def start(self) -> None:
        """Begin to take calls."""
        for method, start_call in self._methods.items():
            for _ in range(_READY):
                self._await_call(method, start_call)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. What it has handed on may still be answered."""
        self._stopping = True
        self._thread.join()

    def close(self) -> None:
        """Shut the queue down. Whoever answers a call after that aborts the process.

        What is still in it is of calls that the server has ended, and dropped.
        """
        self._queue.shutdown()
        while self._queue.poll().completion_type != cygrpc.CompletionType.queue_shutdown:
            pass

    def _await_call(self, method: str, start_call: StartCall) -> None:
        def accepted(event: Any) -> None:
            if event.success:  # else the server is stopping
                self._await_call(method, start_call)
                start_call(event, self._accepted.append)

        self._core.request_registered_call(self._queue, self._queue, method, accepted)

    def _run(self) -> None:
        while not self._stopping:
            self._take_what_has_come()
            if self._accepted:
                calls = self._accepted.copy()
                self._accepted.clear()
                self._answer(calls)

    def _take_what_has_come(self) -> None:
        """Wait a little for an event; do what it and all others that are there ask for."""
        poll, complete = self._queue.poll, cygrpc.CompletionType.operation_complete
        event, taken = poll(time.time() + _LOOK), 0
        while event.completion_type == complete:
            try:
                event.tag(event)
            except Exception:
                logger.exception("an event of the core transport was lost")
            taken += 1
            if taken == _MOST:
                break
            event = poll(_AT_ONCE)

    def _answer(self, calls: list[Call]) -> None:
        try:
            self._handle(calls)
        except Exception as error:  # noqa: BLE001 (a defect: nobody is left waiting, it is logged)
            for one in calls:
                one.fail(error)


def _core_of(server: grpc.aio.Server) -> cygrpc.Server:
    """Find the core's server behind grpc.aio's, which does not show it.

    Raises:
        RuntimeError: this grpcio has another build.
    """
    for found in gc.get_referents(cast("Any", server)._server):  # noqa: SLF001
        if isinstance(found, cygrpc.Server):
            return found
    raise RuntimeError(f"grpcio {grpc.__version__} keeps its server elsewhere; install 1.85")
