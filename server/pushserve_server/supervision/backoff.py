"""Back-off: when to start a process that ended again, or to try a duty that failed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FIRST: Final = 0.1


@dataclass(slots=True)
class Backoff:
    """Waits twice as long after each failure in a row, and at most `longest` seconds.

    Only what did not get ready is a failure: a process that worked, and was killed, is started
    again at once however often that happens. Times are seconds of a monotonic clock, given by
    the caller.
    """

    longest: float = 30.0
    wait: float = 0.0
    not_before: float = 0.0

    def ended(self, now: float, *, was_ready: bool) -> None:
        """Note an end or a failure."""
        self.wait = _FIRST if was_ready else min(max(self.wait * 2, _FIRST), self.longest)
        self.not_before = now + self.wait

    def reset(self) -> None:
        """Wait no longer: what kept it from getting ready is over."""
        self.wait = self.not_before = 0.0

    def may_start(self, now: float) -> bool:
        """Whether the wait is over."""
        return now >= self.not_before
