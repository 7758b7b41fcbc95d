"""Receiving turns: one connection's large requests do not hold up the calls of others.

Taking a request of some MB from the core keeps the transport's thread for milliseconds. A caller
who sends one after the other would keep it for good. So while others call, the requests of such a
connection are asked for at a bounded rate. Until then their bytes wait on the caller's side: the
core opens HTTP/2's window for what has been asked for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

_LARGE: Final = 256 * 1024
"""Bytes of a request from which on its connection is remembered."""
_RATE: Final = 100e6
"""Bytes a second that are taken of such connections while others call: a fifth of what the
thread can take."""
_REMEMBERED: Final = 1.0
"""For so many seconds after its last large request."""
_OTHERS: Final = 0.1
"""Others call if one of theirs came within so many seconds."""
_NEWEST: Final = 0.25
"""Share of the newest request in what the next one is expected to have."""


class Caller(Protocol):
    """What is known of who calls."""

    @property
    def peer(self) -> str:
        """The connection."""


class ReceivingTurns:
    """Says when requests are asked for; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._expected: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        self._others_at = float("-inf")
        self._free_at = 0.0
        self._open = False

    def take(self, call: Caller, ask: Callable[[], object]) -> None:
        """Ask for a call's next request, at once or when its turn comes; from any thread."""
        if not self._expected:  # nearly always
            ask()
            return
        peer = call.peer
        if peer in self._expected:
            with self._lock:
                self._waiting.setdefault(peer, deque()).append(ask)
            self.go_on()
        else:
            self._others_at = self._clock()
            ask()

    def received(self, call: Caller, size: int) -> None:
        """Note a request of so many bytes; from any thread."""
        if size < _LARGE and not self._expected:
            return
        peer = call.peer
        with self._lock:
            if size >= _LARGE:
                self._until[peer] = self._clock() + _REMEMBERED
                self._expected.setdefault(peer, size)
            if peer in self._expected:
                self._expected[peer] += _NEWEST * (size - self._expected[peer])

    def go_on(self) -> float:
        """Ask for those whose turn it is; give the seconds until the next one's."""
        with self._lock:
            while self._waiting:
                now = self._clock()
                others = now - self._others_at < _OTHERS and not self._open
                if others and self._free_at > now:
                    return self._free_at - now
                self._free_at = max(self._free_at, now) + self._first() / _RATE
        return float("inf")

    def _first(self) -> float:
        """Ask for the first one's; its connection is the last one then. Give the bytes expected."""
        peer, asking = next(iter(self._waiting.items()))
        del self._waiting[peer]
        asking.popleft()()
        if asking:
            self._waiting[peer] = asking
        return self._expected.get(peer, 0)

    def forget(self) -> None:
        """Forget connections that have sent nothing large for a while."""
        now = self._clock()
        with self._lock:
            for peer in [peer for peer, until in self._until.items() if until < now]:
                if peer not in self._waiting:
                    del self._until[peer], self._expected[peer]

    def open(self) -> None:
        """Ask for all requests at once from now on: the server is stopping."""
        self._open = True
        self.go_on()
