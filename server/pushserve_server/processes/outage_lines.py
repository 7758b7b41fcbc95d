"""Outage lines: while the registry is away, a process says so in one line a minute.

Whatever needs it fails over and over, each with a trace of the same cause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from pushserve_server.errors import RegistryUnavailable

_EVERY: Final = 60.0
"""Seconds."""


class OutageLines(logging.Filter):
    """Lets the first such line of a minute pass, without its trace; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is written."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RegistryUnavailable):
            record.msg, record.args = f"{record.getMessage()}: {error.message}", ()
            record.exc_info = record.exc_text = None
        elif not _tells_of_one(record):
            return True
        now = self._clock()
        if now - self._said_at < _EVERY:
            return False
        self._said_at = now
        return True


def _tells_of_one(record: logging.LogRecord) -> bool:
    given = record.args if isinstance(record.args, tuple) else ()
    return any(isinstance(each, RegistryUnavailable) for each in given)
