"""Core calls: as gRPC's core hands them over.

Their events come on the transport's thread; answers may come from any.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from pushserve_server.access.guard import ANYBODY
from pushserve_server.api.status import DETAILS_KEY, Failure, failure
from pushserve_server.api.transport.call import (
    REQUEST_ID,
    Call,
    CallerGone,
    Listener,
    Metadata,
    Method,
)
from pushserve_server.api.transport.core_binding import (
    CANCELLED,
    NO_COMPRESS,
    NO_FLAGS,
    OK,
    ReceiveClose,
    ReceiveMessage,
    SendHead,
    SendMessage,
    SendStatus,
)
from pushserve_server.api.transport.receiving_turns import ReceivingTurns
from pushserve_server.errors import BadInput

SMALL: Final = 1024
"""Messages of fewer bytes are not worth compressing."""


class Owner(Protocol):
    """What calls need of the transport that carries them."""

    listener: Listener
    turns: ReceivingTurns
    accepted: list[Call]
    receiving: dict[Any, float]
    """Calls whose request is not there yet, and since when (monotonic), the oldest first."""
    unsent: dict[Any, tuple[float, int]]
    """Calls whose answer is not taken yet: since when (monotonic), and its bytes."""


class CoreCall:
    """A call with one request and one answer."""

    __slots__ = (
        "_call", "_ended", "_owner",
        "body", "deadline", "metadata", "method", "principal", "request_id", "started",
    )  # fmt: skip

    def __init__(self, owner: Owner, event: Any, method: Method) -> None:
        self._owner = owner
        self._call: Any = event.call
        self._ended = False
        self.method = method
        self.metadata: Metadata = event.invocation_metadata
        self.deadline: float = event.call_details.deadline
        self.body = b""
        self.request_id = ""
        self.principal = ANYBODY
        self.started = time.perf_counter()

    def start(self) -> None:
        """Ask for the request, of who may call; the call is accepted when it is there."""
        try:
            self._owner.listener.recognize(self)
        except Exception as error:  # noqa: BLE001 (it goes to whose call it was)
            self.fail(error)
            return
        self._owner.turns.take(self, self._ask)

    def _ask(self) -> None:
        self._owner.receiving[self] = time.monotonic()
        self._call.start_server_batch((ReceiveMessage(NO_FLAGS),), self._received)

    def _received(self, event: Any) -> None:
        self._owner.receiving.pop(self, None)
        data = event.batch_operations[0].message()
        if data is None:
            self.fail(BadInput("the call brought no request", reason="WRONG_FORM"))
            return
        self._owner.turns.received(self, len(data))
        self.body = data
        self._owner.accepted.append(self)

    @property
    def peer(self) -> str:
        """Who calls, as gRPC names it; "" once the answer is sent."""
        call = self._call
        return "" if call is None else call.peer().decode(errors="replace")

    def reply(self, data: bytes) -> None:
        """Send the serialized response, and end well."""
        if self._end(OK, len(data)):
            self._owner.unsent[self] = (time.monotonic(), len(data))
            self._call.start_server_batch(
                (
                    SendHead(None, NO_FLAGS),
                    SendMessage(data, NO_FLAGS if len(data) > SMALL else NO_COMPRESS),
                    SendStatus(self._trailing(), OK, b"", NO_FLAGS),
                ),
                self._sent,
            )

    def fail(self, error: Exception) -> None:
        """End with the status of an error."""
        if not self._ended:
            failed = failure(error, self.request_id)
            if self._end(failed.number, 0):
                self._call.start_server_batch((*self._head(), self._status(failed)), self._sent)

    def _head(self) -> tuple[Any, ...]:
        return (SendHead(None, NO_FLAGS),)

    def _status(self, failed: Failure) -> Any:
        trailing = (*self._trailing(), (DETAILS_KEY, failed.details))
        return SendStatus(trailing, failed.number, failed.message.encode(), NO_FLAGS)

    def _end(self, code: int, size: int) -> bool:
        """Say whether this answer is the first one."""
        if self._ended:
            return False
        self._ended = True
        self._owner.listener.finished(self, code, size)
        return True

    def _trailing(self) -> tuple[tuple[str, str], ...]:
        return ((REQUEST_ID, self.request_id),) if self.request_id else ()

    def _sent(self, event: Any) -> None:
        """Let go of the core's call: it counts as one of its connection's until then."""
        self._owner.unsent.pop(self, None)
        self._call = None

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done if the caller gives up before the answer."""

        def closed(event: Any) -> None:
            if event.batch_operations[0].cancelled():
                do()

        call = self._call
        if call is not None:
            call.start_server_batch((ReceiveClose(NO_FLAGS),), closed)

    def cancel(self) -> None:
        """Let the connection forget the call, whatever of it is under way."""
        self._end(CANCELLED, 0)
        call = self._call
        if call is not None:
            call.cancel()


class CoreStreamCall(CoreCall):
    """A call that sends a stream, and may read one, for a method on the event loop."""

    __slots__ = ("_gone", "_head_sent", "_loop", "_when_gone")

    def __init__(self, owner: Owner, event: Any, method: Method) -> None:
        super().__init__(owner, event, method)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._head_sent = False
        self._gone = False
        self._when_gone: list[Callable[[], object]] = []

    def start(self) -> None:
        """Ask for the request, where there is just one; a stream's come by `receive`."""
        self._call.start_server_batch((ReceiveClose(NO_FLAGS),), self._closed)
        if self.method.takes_stream:
            self._owner.accepted.append(self)
        else:
            super().start()

    def _closed(self, event: Any) -> None:
        if event.batch_operations[0].cancelled():
            self._gone = True
            for do in self._when_gone:
                do()

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done if the caller gives up before the answer."""
        self._when_gone.append(do)
        if self._gone:
            do()

    async def receive(self) -> bytes | None:
        """Wait for the next request; None when there are no more."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Any] = loop.create_future()
        asked = partial(loop.call_soon_threadsafe, _resolve, turn, None)
        self._owner.turns.take(self, asked)
        await turn
        event = await self._batch(ReceiveMessage(NO_FLAGS))
        data: bytes | None = event.batch_operations[0].message()
        if data is not None:
            self._owner.turns.received(self, len(data))
        return data

    async def send(self, data: bytes) -> None:
        """Send a response.

        Raises:
            CallerGone: nobody is there to take it.
        """
        operation = SendMessage(data, NO_FLAGS if len(data) > SMALL else NO_COMPRESS)
        self._owner.unsent[self] = (time.monotonic(), len(data))
        try:
            event = await self._batch(*self._head(), operation)
        finally:
            self._owner.unsent.pop(self, None)
        if not event.success:
            raise CallerGone

    async def _batch(self, *operations: Any) -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def completed(event: Any) -> None:
            loop.call_soon_threadsafe(_resolve, done, event)

        if self._ended or self._gone:
            raise CallerGone
        self._call.start_server_batch(operations, completed)
        return await done

    def _head(self) -> tuple[Any, ...]:
        if self._head_sent:
            return ()
        self._head_sent = True
        return (SendHead(None, NO_FLAGS),)

    def finish(self) -> None:
        """End well, after all responses."""
        if self._end(OK, 0):
            status = SendStatus(self._trailing(), OK, b"", NO_FLAGS)
            self._call.start_server_batch((*self._head(), status), self._sent)


def _resolve(done: asyncio.Future[Any], event: Any) -> None:
    if not done.done():
        done.set_result(event)
