"""Probe: asks a worker, over the socket that its callers use, whether it answers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from pushserve_runtime.frame_splitter import FrameSplitter
from pushserve_runtime.frames import FrameError, Kind, encode_frame

_OFTEN: Final = 2.0
"""Seconds between two questions at the most."""
_SILENT: Final = 2.0
_SILENT_LOAD: Final = 30.0
"""Seconds without an answer after which a worker that loads its model is called silent."""
_READY_LIMIT: Final = 4096
_CHUNK: Final = 16 * 1024


class Probe:
    """One worker process from its start. Times are seconds of a monotonic clock.

    It has `to_load` seconds until its first answer, then `patience` for each. A worker answers a
    HELLO between two batches; so what is silent loads, computes one batch, or does nothing more.
    """

    def __init__(self, path: Path, now: float, to_load: float, patience: float) -> None:
        self._path = path
        self._patience = patience
        self.allowed = to_load
        """Seconds that the answer which is awaited may take."""
        self.is_loading = True
        """Whether it has never answered yet."""
        self._asked_at: float | None = now
        self._ask_next = now
        self._number = 0
        self._sock: socket.socket | None = None
        self._splitter = FrameSplitter(self._admit)
        self._ask()

    def look(self, now: float) -> bool:
        """Take what has come, ask again where it is time, and say whether an answer is overdue."""
        self._listen(now)
        if self._asked_at is None and now >= self._ask_next:
            self._asked_at = now
            self._number += 1
            self._ask()
        elif self._asked_at is not None and self._sock is None:
            self._ask()
        return self._asked_at is not None and now - self._asked_at > self.allowed

    def is_silent(self, now: float) -> bool:
        """Whether it has owed an answer for longer than calls take."""
        enough = _SILENT_LOAD if self.is_loading else _SILENT
        return self._asked_at is not None and now - self._asked_at > enough

    def _ask(self) -> None:
        """Send the question, on a new connection where the last one was closed."""
        try:
            if self._sock is None:
                self._splitter = FrameSplitter(self._admit)
                self._sock = socket.socket(socket.AF_UNIX)
                self._sock.setblocking(False)
                self._sock.connect(str(self._path))
            self._sock.sendall(b"".join(encode_frame(self._number, Kind.HELLO)))
        except OSError:  # a backlog or buffer that is full, or nobody there: no answer either way
            self.close()

    def _admit(self, size: int, number: int, kind: int) -> None:
        if (number, kind) != (self._number, Kind.READY) or size > _READY_LIMIT:
            raise FrameError("no answer to a HELLO")

    def _listen(self, now: float) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_CHUNK)
            frames = self._splitter.feed(data)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data, frames = b"", []
        if not data:
            self.close()
        elif frames:
            self.is_loading, self._asked_at = False, None
            self.allowed = self._patience
            self._ask_next = now + min(_OFTEN, self._patience / 4)

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
