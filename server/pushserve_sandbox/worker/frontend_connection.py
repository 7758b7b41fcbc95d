"""Frontend connection of a worker: frames in, frames out, never waiting."""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from pushserve_runtime.frame_splitter import Frame, FrameSplitter
from pushserve_runtime.frames import MAX_FRAME, FrameError

CHUNK: Final = 256 * 1024
READ_LIMIT: Final = 8 * 1024**2
BACKLOG_LIMIT: Final = 64 * 1024**2
_BUFFERS: Final = 512  # the kernel takes 1,024 with one call


class Connection:
    """Bytes of one peer. `closed` is set once it has hung up or sent what is no frame."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.closed = False
        self._splitter = FrameSplitter(_admit)
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
            frames += self._splitter.feed(data)
            if len(data) < CHUNK:
                break
        return frames

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


def _admit(size: int, _request: int, _kind: int) -> None:
    if size > MAX_FRAME:
        raise FrameError(f"a frame of {size} bytes")
