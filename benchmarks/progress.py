"""How far a benchmark is, and rounds that end in time. It goes to stderr: tables are stdout's."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator


class Clock:
    """Runs from when it is made, and says how far a benchmark is that may take `minutes`."""

    def __init__(self, minutes: float) -> None:
        self._begun = time.monotonic()
        self._seconds = minutes * 60

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        print(f"[{self.passed:4.0f} s] {text}", file=sys.stderr, flush=True)

    def rounds(self, count: int, what: str, share: float = 1.0) -> Iterator[int]:
        """Count rounds, one at least. None begins that would end after `share` of the minutes."""
        for i in range(count):
            self.say(f"{what}, round {i + 1} of {count}")
            begun = self.passed
            yield i
            took = self.passed - begun
            if i + 1 < count and self.passed + took > share * self._seconds:
                print(f"STOPPED {what} after {i + 1} of {count} rounds: the time is over")
                return
