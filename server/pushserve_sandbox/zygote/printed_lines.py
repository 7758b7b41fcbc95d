"""Printed lines: what a job prints, as lines to whoever started it, who never keeps it waiting.

Descriptors 1 and 2 of a job are one pipe. A line of a log record starts with its severity as
syslog numbers it, "<4>" for a warning; any other is what the model's code, or a library of it,
printed. What the full pipe does not take is dropped and counted.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
from typing import Any, Final, cast

LINE_LIMIT: Final = 2000
"""In bytes; a longer line is cut into several. Pipes take less than 4,096 whole or not at all."""
_SEVERITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG: Final = 7


def send_output_to(fd: int) -> None:
    """Have what this process prints, logs, and says when it crashes go to a pipe, line by line."""
    os.set_blocking(fd, False)
    faulthandler.enable(fd)
    sys.stdout = sys.stderr = io.TextIOWrapper(
        cast("Any", _Lines(fd)),  # a raw stream will do, where all is written through
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Severity("%(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Lines(io.RawIOBase):
    """Writes whole lines to a descriptor that does not wait."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._begun = bytearray()
        self._dropped = 0

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._fd

    def write(self, data: Any) -> int:
        """Take it all; send the lines that have ended."""
        self._begun += data
        while True:
            end = self._begun.find(b"\n", 0, LINE_LIMIT)
            if end < 0 and len(self._begun) < LINE_LIMIT:
                return len(data)
            line = bytes(self._begun[: end if end >= 0 else LINE_LIMIT])
            del self._begun[: end + 1 if end >= 0 else LINE_LIMIT]
            self._send(line)

    def _send(self, line: bytes) -> None:
        if self._dropped:
            line = b"<4>(%d lines were dropped: too many at once)\n%s" % (self._dropped, line)
        try:
            os.write(self._fd, line + b"\n")
        except OSError:  # it is full, or nobody reads it any more
            self._dropped += 1
        else:
            self._dropped = 0


class _Severity(logging.Formatter):
    """Starts every line of a record with its severity."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record's lines."""
        number = next((n for level, n in _SEVERITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{number}>{line}" for line in super().format(record).splitlines())
