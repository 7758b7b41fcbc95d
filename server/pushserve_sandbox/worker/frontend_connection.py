"""Frontend connection of a worker: frames in, frames out, never waiting."""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from pushserve_runtime.frames import HEADER, MAX_FRAME, FrameError

CHUNK: Final = 256 * 1024
READ_LIMIT: Final = 8 * 1024**2
BACKLOG_LIMIT: Final = 64 * 1024**2
_BUFFERS: Final = 512  # the kernel takes 1,024 with one call
_SMALLEST: Final = HEADER.size - 4

Frame = tuple[int, int, memoryview]
"""Request id, kind, body."""


class Connection:
    """Bytes of one peer. `closed` is set once it has hung up or sent what is no frame."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.closed = False
        self._partial = bytearray()
        self._needed = HEADER.size
        self._out: deque[memoryview] = deque()
        self._out_size = 0

    @property
    def has_output(self) -> bool:
        """Whether answers wait for the peer to read."""
        return bool(self._out)

    @property
    def is_congested(self) -> bool:
        """Whether the peer reads so little that nothing more is taken from it."""
        return self._out_size > BACKLOG_LIMIT

    def read(self) -> list[Frame]:
        """Take what has arrived and give the frames that are whole.

        Raises:
            FrameError: it is no frame, or larger than frames may be.
        """
        frames: list[Frame] = []
        taken = 0
        while taken < READ_LIMIT:
            try:
                data = self.sock.recv(CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.closed = True
                break
            taken += len(data)
            self._split(data, frames)
            if len(data) < CHUNK:
                break
        return frames

    def _split(self, data: bytes | bytearray, frames: list[Frame]) -> None:
        """Cut `data` into frames; what is left of the last one waits for more."""
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data, self._partial = self._partial, bytearray()
        view = memoryview(data)
        at, end = 0, len(data)
        self._needed = HEADER.size
        while at + HEADER.size <= end:
            size, request, kind = HEADER.unpack_from(data, at)
            if not _SMALLEST <= size <= MAX_FRAME:
                raise FrameError(f"a frame of {size} bytes")
            if at + 4 + size > end:
                self._needed = 4 + size
                break
            frames.append((request, kind, view[at + HEADER.size : at + 4 + size]))
            at += 4 + size
        if at < end:
            self._partial = bytearray(view[at:])

    def queue(self, data: bytes) -> None:
        """Put a frame in line for the peer."""
        self._out.append(memoryview(data))
        self._out_size += len(data)

    def flush(self) -> None:
        """Send as much as the peer takes now."""
        out = self._out
        while out and not self.closed:
            buffers = [out[i] for i in range(min(len(out), _BUFFERS))]
            try:
                sent = self.sock.sendmsg(buffers)
            except BlockingIOError:
                return
            except OSError:
                self.closed = True
                return
            self._out_size -= sent
            while sent:
                first = out[0]
                if sent < len(first):
                    out[0] = first[sent:]
                    break
                sent -= len(first)
                out.popleft()
