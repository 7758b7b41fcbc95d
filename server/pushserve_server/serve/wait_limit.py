"""Wait limit: refuses calls that would wait too long for those before them.

A version's calls in flight, divided by how many of them end in a second, is how long the next
one will take (Little's law), whether they run one by one or in batches.

This is one of two limits that refuse calls. `max_wait` is for the queue of one version, so that a
slow model does not keep its callers waiting; `max_concurrent` is for all requests that one frontend
holds. docs/errors.md has all limits, and which calls they are for.
"""

from __future__ import annotations

from typing import Final

from pushserve_server.errors import Overloaded

FEW: Final = 16
"""So many calls in flight are never too many."""
_WINDOW: Final = 0.25
"""Seconds after which the pace is taken anew."""
_LEAST_PAUSE: Final = 0.1
_PAUSE_WHILE_NONE_ENDS: Final = 1.0


class WaitLimiter:
    """How fast one version's calls end. Times are in seconds, from one monotonic clock."""

    __slots__ = ("_longest", "_rate", "_since", "ended")

    def __init__(self, longest: float) -> None:
        self.ended = 0
        """Calls that have ended since `begin`, or since the pace was taken; the owner counts."""
        self._longest = longest
        self._since = 0.0
        self._rate = 0.0

    def begin(self, now: float) -> None:
        """Start counting anew: a call comes while none is in flight."""
        self._since = now
        self.ended = 0

    def check(self, in_flight: int, now: float) -> None:
        """Let one more call in, where `in_flight` are there already.

        Raises:
            Overloaded: it would wait for longer than is allowed.
        """
        passed = now - self._since
        if passed > _WINDOW and self.ended:
            self._rate = self.ended / passed
            self.begin(now)
        elif passed > self._longest and not self.ended:
            raise Overloaded(
                f"none of {in_flight} calls of this version has ended for {passed:.0f} s; "
                "try again shortly",
                _PAUSE_WHILE_NONE_ENDS,
            )
        if not self._rate:
            return
        wait = in_flight / self._rate
        if wait > self._longest:
            raise Overloaded(
                f"{in_flight} calls of this version are in flight, which take about {wait:.1f} s; "
                "try again shortly",
                max(wait - self._longest, _LEAST_PAUSE),
            )
