"""Job output: what jobs print, in the server's log: whose line it is, cleaned, and not too many.

A job runs a stranger's code, so its output is bounded in the length of a line and in lines a
second; what is beyond is counted. A line that starts with "<4>" has that severity of syslog's.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from pushserve_runtime.build_error import printable

logger = logging.getLogger(__name__)

LINE_LIMIT: Final = 1000
"""Characters of a line that are logged."""
LINES_AT_ONCE: Final = 200
LINES_A_SECOND: Final = 20.0
_READ: Final = 64 * 1024
"""Bytes that are taken at a time: what a pipe holds."""
_LEVELS: Final = {
    b"<3>": logging.ERROR,
    b"<4>": logging.WARNING,
    b"<6>": logging.INFO,
    b"<7>": logging.DEBUG,
}


class JobOutput:
    """The reading end of one job's output. `fd` is closed by `close`.

    `job` says whose it is, as {"model": "iris", "version": 3, …}: it starts each line, and the
    log records have it as attributes.
    """

    def __init__(self, fd: int, job: Mapping[str, object]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._job = dict(job)
        self._who = " ".join(f"{name}={value}" for name, value in job.items())
        self._rest = b""
        self._allowed = float(LINES_AT_ONCE)
        self._counted_at = time.monotonic()
        self._left_out = 0

    def log(self) -> None:
        """Log what has come; does not wait."""
        try:
            data = os.read(self._fd, _READ)
        except OSError:
            return
        self._allow_more()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 4 * LINE_LIMIT:  # one of our own writers cuts its lines before
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._log(line)

    def close(self) -> None:
        """Log the rest, and close the descriptor."""
        if self._fd < 0:
            return
        self.log()
        if self._rest:
            self._log(self._rest)
        self._say_what_was_left_out()
        with suppress(OSError):
            os.close(self._fd)
        self._fd = -1

    def _allow_more(self) -> None:
        now = time.monotonic()
        more = (now - self._counted_at) * LINES_A_SECOND
        self._allowed = min(self._allowed + more, float(LINES_AT_ONCE))
        self._counted_at = now
        if self._allowed >= 1:
            self._say_what_was_left_out()

    def _log(self, line: bytes) -> None:
        if self._allowed < 1:
            self._left_out += 1
            return
        level = _LEVELS.get(line[:3])
        text = printable((line if level is None else line[3:]).decode(errors="replace"), LINE_LIMIT)
        if text:
            self._allowed -= 1
            self._say(logging.INFO if level is None else level, text)

    def _say_what_was_left_out(self) -> None:
        if self._left_out:
            self._say(logging.WARNING, f"({self._left_out} more lines were left out)")
            self._left_out = 0

    def _say(self, level: int, text: str) -> None:
        logger.log(level, "%s: %s", self._who, text, extra={"job": self._job})
