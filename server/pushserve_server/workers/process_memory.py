"""Process memory: what worker processes take, as the kernel counts it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

_FIRST_GUESS: Final = 64 * 1024**2
"""For a worker, before any was measured, in bytes."""
_SHARE: Final = 50
"""Measuring may take one part in so many of the time."""
_EVERY: Final = 2.0


def proportional_size(pid: int) -> int:
    """Give the bytes of a process, what it shares divided by those who share it (PSS).

    Workers share what the zygote had imported. 0 for a process that has ended.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        return _resident(pid)
    except OSError:
        pass
    return 0


def _resident(pid: int) -> int:
    """What anybody may read: more than the truth, as what is shared counts whole."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Footprints:
    """Sizes of workers by version id, in bytes: measured, remembered, or guessed."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._next = 0.0

    def measure(self, pids: Mapping[int, Collection[int]], now: float) -> bool:
        """Measure those that run, unless that was done just now; say whether it was done."""
        if now < self._next:
            return False
        began = time.monotonic()
        for version_id, some in pids.items():
            size = sum(proportional_size(pid) for pid in some)
            if size:
                self._sizes[version_id] = size
        self._next = now + max(_EVERY, _SHARE * (time.monotonic() - began))
        return True

    def size(self, version_id: int) -> int:
        """Give what a worker takes, or would; without a measure, what the others take."""
        known = self._sizes.get(version_id)
        if known is None:
            known = sum(self._sizes.values()) // len(self._sizes) if self._sizes else _FIRST_GUESS
        return known

    def forget_others(self, version_ids: Collection[int]) -> None:
        """Keep what is known of these versions only."""
        for version_id in self._sizes.keys() - set(version_ids):
            del self._sizes[version_id]
