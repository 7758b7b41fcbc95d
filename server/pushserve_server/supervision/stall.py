"""Stall: telling a loop that hangs from one that has no processor to run on.

A loop that shows no turn has missed a look. Looks are counted and no clock, so a machine that
stood still, with the supervisor on it, raises no alarm. And a thread that mostly waited in the
kernel's queue for a processor, or for a disk, had no chance to turn: such looks count a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_LOOK: Final = 1.0
_LOOKS: Final = 8
"""At least so many are taken before a loop is given up."""
_STARVED_COUNTS: Final = 0.1
_NANOSECONDS: Final = 1e9


class ThreadState(NamedTuple):
    """What the kernel says of a thread: its state's letter, seconds in the queue to run so far."""

    letter: str
    queued: float


def thread_state(pid: int, thread: int) -> ThreadState:
    """Read it; where the kernel does not tell, it is as if it had not had to wait."""
    folder = Path(f"/proc/{pid}/task/{thread}")
    try:
        letter = (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ThreadState("", 0.0)
    try:
        queued = int((folder / "schedstat").read_text().split()[1]) / _NANOSECONDS
    except (OSError, IndexError, ValueError):
        queued = 0.0
    return ThreadState(letter, queued)


class StallWatch:
    """One loop of another process. Times are seconds of a monotonic clock."""

    def __init__(self, patience: float, now: float) -> None:
        self._patience = patience
        self._every = min(_LOOK, patience / _LOOKS)
        self._looked_at = now
        self._count = -1
        self._state: ThreadState | None = None
        self.missed = 0.0
        """For how long it has not turned, though it could have."""

    @property
    def is_hung(self) -> bool:
        """Whether it is to be given up."""
        return self.missed >= self._patience

    @property
    def looks_hung(self) -> bool:
        """Whether half of the patience with it is over."""
        return self.missed >= self._patience / 2

    def look(self, count: int, state: Callable[[], ThreadState], now: float) -> None:
        """Note how often the loop has turned by now; does nothing before the next look is due.

        `state` is asked for that of its thread, where it has not turned.
        """
        passed = now - self._looked_at
        if passed < self._every:
            return
        self._looked_at = now
        if count != self._count:
            self._count, self.missed, self._state = count, 0.0, None
            return
        before, self._state = self._state, state()
        if before is not None:
            self.missed += _weight(before, self._state, passed) * min(passed, 2 * self._every)


def _weight(before: ThreadState, after: ThreadState, passed: float) -> float:
    starved = after.letter == "D" or after.queued - before.queued > passed / 2
    return _STARVED_COUNTS if starved else 1.0
