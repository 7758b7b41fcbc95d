"""Heartbeats: words in memory by which a process shows its supervisor that its loops turn.

A process that hangs still runs, keeps its port and answers nobody, and only it could tell. So
each of its loops counts its turns in memory that the supervisor reads (`supervision.stall`). It
costs a loop an addition, and no lock, file or message that could itself hang.

    word 0: 1 once the process is ready | for each loop: native thread id, patience, turns
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Final, NamedTuple

BEAT_EVERY: Final = 0.25
"""How long a loop that has nothing to do waits before it shows its next turn, in seconds."""
_LOOPS: Final = 8
_NAME: Final = 40
_WORDS: Final = 3
_SIZE: Final = 8 * (1 + _LOOPS * _WORDS) + _LOOPS * _NAME


class Turns(NamedTuple):
    """What a loop has shown: its name, the thread that it runs on, how often it has turned.

    It is given `patience` times as long as others before it is taken for hung.
    """

    name: str
    thread: int
    patience: int
    turned: int


class Heartbeat:
    """One loop's counter. The loop calls `beat` every turn, and turns some times a second."""

    def __init__(self, words: memoryview, at: int, patience: int) -> None:
        self._words = words
        self._at = at
        self._patience = patience

    def beat(self) -> None:
        """Count a turn. From the first one on, the loop has to go on turning."""
        words, at = self._words, self._at
        if not words[at]:
            words[at + 1] = self._patience
            words[at] = threading.get_native_id()
        words[at + 2] += 1

    def end(self) -> None:
        """Say that the loop has ended as it should: it is watched no longer."""
        self._words[self._at] = 0


class Heartbeats:
    """The counters of one process, shared by the file descriptor `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _SIZE)
        whole = memoryview(self._memory)
        self._words = whole[: 8 * (1 + _LOOPS * _WORDS)].cast("Q")
        self._names = whole[8 * (1 + _LOOPS * _WORDS) :]
        self._begun = 0

    @classmethod
    def create(cls) -> Heartbeats:
        """Make memory that a child may be given; for the supervisor.

        Raises:
            OSError: the machine has too little of something.
        """
        fd = os.memfd_create("heartbeats")
        os.truncate(fd, _SIZE)
        return cls(fd)

    def loop(self, name: str, *, patience: int = 1) -> Heartbeat:
        """Give the counter of one of this process's loops, for the process itself."""
        number, self._begun = self._begun, self._begun + 1
        if number >= _LOOPS:
            raise ValueError(f"a process shows {_LOOPS} loops at most")
        text = name.encode()[:_NAME]
        self._names[number * _NAME : number * _NAME + len(text)] = text
        return Heartbeat(self._words, 1 + number * _WORDS, patience)

    def ready(self) -> None:
        """Say that this process does its work now."""
        self._words[0] = 1

    @property
    def is_ready(self) -> bool:
        """Whether the process has said so."""
        return bool(self._words[0])

    def turns(self) -> list[Turns]:
        """Read the loops that have begun and not ended."""
        found = []
        for number in range(_LOOPS):
            at = 1 + number * _WORDS
            thread, patience, count = self._words[at : at + _WORDS]
            if thread:
                name = bytes(self._names[number * _NAME : (number + 1) * _NAME])
                found.append(
                    Turns(name.rstrip(b"\0").decode(errors="replace"), thread, patience, count)
                )
        return found

    def clear(self) -> None:
        """Forget the process that had it before; for the supervisor."""
        for at in range(len(self._words)):
            self._words[at] = 0
        self._names[:] = bytes(len(self._names))
