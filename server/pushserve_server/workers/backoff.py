"""Back-off: when to start a process that ended again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FIRST: Final = 0.1
_LONGEST: Final = 30.0
_STEADY: Final = 30.0


@dataclass(slots=True)
class Backoff:
    """Waits twice as long after each quick end; one that ran for a while starts afresh.

    Times are seconds of a monotonic clock, given by the caller.
    """

    wait: float = 0.0
    not_before: float = 0.0

    def ended(self, started_at: float, now: float) -> None:
        """Note that the process which started at `started_at` has ended."""
        if now - started_at > _STEADY:
            self.wait = 0.0
        self.wait = min(max(self.wait * 2, _FIRST), _LONGEST)
        self.not_before = now + self.wait

    def may_start(self, now: float) -> bool:
        """Whether the wait is over."""
        return now >= self.not_before
