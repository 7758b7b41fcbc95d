"""Pauses before something is tried again, in seconds: doubled each time, up to a longest one."""

from __future__ import annotations

from typing import Final

LONGEST_RETRY: Final = 900.0
"""For what a remote failed for again and again, in seconds."""
_MOST_DOUBLINGS: Final = 30


def growing_pause(attempt: int, first: float, longest: float) -> float:
    """Give the pause after attempt number `attempt` (from 1) failed."""
    return float(min(first * 2 ** min(attempt - 1, _MOST_DOUBLINGS), longest))
