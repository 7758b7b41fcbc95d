"""Bounds on the memory that slow peers hold: whose call is ended, and when. Pure functions.

A request may be as large as `max_request`, and its bytes are kept until the last one is there;
an answer is kept until its caller takes it. Neither may cost `max_request` for each connection
that somebody opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

_QUICK: Final = 0.25
"""Requests that have come within so many seconds count for nothing: bandwidth bounds them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes are in bytes, times in seconds.

    `memory` is what slow requests, and answers that are not taken, may hold in all; one slow
    request counts as `max_request`.
    """

    max_request: int
    memory: int
    receive_timeout: float
    send_timeout: float

    def receiving(self, calls: Iterable[tuple[T, float]], now: float) -> tuple[list[T], list[T]]:
        """Choose from calls whose request is not there, and since when, the oldest first.

        Gives those that take too long, and the oldest ones of those that hold too much in sum.
        """
        late, slow = [], []
        for call, since in calls:
            if now - since > self.receive_timeout:
                late.append(call)
            elif now - since > _QUICK:
                slow.append(call)
        most = max(self.memory // self.max_request, 1)
        return late, slow[: max(len(slow) - most, 0)]

    def unsent(self, calls: Iterable[tuple[T, tuple[float, int]]], now: float) -> list[T]:
        """Choose from calls whose answer is not taken: since when, and bytes; oldest first."""
        calls = list(calls)
        held = sum(size for _, (_, size) in calls)
        chosen = []
        for call, (since, size) in calls:
            waited = now - since
            if waited > self.send_timeout or (held > self.memory and waited > _QUICK):
                chosen.append(call)
                held -= size
        return chosen
