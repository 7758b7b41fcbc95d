"""Core item stream: one whose requests are calls of their own, as gRPC's core hands it over."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from pushserve_server.api.transport.call import WINDOW, Listener, Method
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
from pushserve_server.api.transport.core_calls import SMALL, CoreCall, Owner
from pushserve_server.api.transport.item_call import ItemCall


class CoreItemStream(CoreCall):
    """A stream whose requests are calls of their own.

    Reads on while few of them wait for their answers; sends these in order, one at a time.
    """

    __slots__ = ("_all_read", "_lock", "_reading", "_sending", "_waiting", "gone", "items")

    def __init__(self, owner: Owner, event: Any, method: Method, items: Method) -> None:
        super().__init__(owner, event, method)
        self.items = items
        self._lock = threading.Lock()
        self._waiting: deque[_CoreItem] = deque()
        self._reading = True
        self._all_read = False
        self._sending = False
        self.gone = False

    def start(self) -> None:
        """Have the stream admitted, then read."""
        try:
            self._owner.listener.admit(self)
        except Exception as error:  # noqa: BLE001 (it goes to whose call it was)
            self.fail(error)
            return
        for operation, tag in (
            (ReceiveClose(NO_FLAGS), self._closed),
            (SendHead(None, NO_FLAGS), _nothing),
        ):
            self._call.start_server_batch((operation,), tag)
        self._owner.turns.take(self, self._ask)

    def _ask(self) -> None:
        call = self._call
        if call is not None:  # it may have ended while it waited for its turn
            call.start_server_batch((ReceiveMessage(NO_FLAGS),), self._received)

    def _received(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None:
            with self._lock:
                self._all_read = True
                self._send_on()
            return
        self._owner.turns.received(self, len(data))
        item = _CoreItem(self, data)
        with self._lock:
            self._waiting.append(item)
            self._reading = False
            self._read_on()
        self._owner.accepted.append(item)

    def _read_on(self) -> None:
        if not self._reading and not self._all_read and len(self._waiting) < WINDOW:
            self._reading = True
            self._owner.turns.take(self, self._ask)

    @property
    def listener(self) -> Listener:
        """Who is told of the requests."""
        return self._owner.listener

    def answered(self) -> None:
        """Send what can be sent now."""
        with self._lock:
            self._send_on()

    def _send_on(self) -> None:
        if self._sending or self.gone:
            return
        if not self._waiting:
            if self._all_read:
                self.gone = True
                if self._end(OK, 0):
                    status = SendStatus(self._trailing(), OK, b"", NO_FLAGS)
                    self._call.start_server_batch((status,), self._all_sent)
            return
        answer = self._waiting[0].answer
        if answer is not None:
            self._waiting.popleft()
            self._sending = True
            self._owner.unsent[self] = (time.monotonic(), len(answer))
            flags = NO_FLAGS if len(answer) > SMALL else NO_COMPRESS
            self._call.start_server_batch((SendMessage(answer, flags),), self._sent)
            self._read_on()

    def _sent(self, event: Any) -> None:
        with self._lock:
            self._sending = False
            self._owner.unsent.pop(self, None)
            if event.success:
                self._send_on()

    def _all_sent(self, event: Any) -> None:
        super()._sent(event)

    def _closed(self, event: Any) -> None:
        if event.batch_operations[0].cancelled():
            with self._lock:
                self.gone = True
                left = list(self._waiting)
            self._end(CANCELLED, 0)
            for item in left:
                item.give_up()


class _CoreItem(ItemCall):
    """One request of an item stream."""

    __slots__ = ("_stream",)

    def __init__(self, stream: CoreItemStream, body: bytes) -> None:
        super().__init__(stream, stream.items, body, stream.listener)
        self._stream = stream

    def answered(self) -> None:
        self._stream.answered()

    @property
    def gone(self) -> bool:
        return self._stream.gone


def _nothing(event: Any) -> None:
    """Do nothing about an event."""
