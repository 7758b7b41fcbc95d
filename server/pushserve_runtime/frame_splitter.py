"""Frame splitter: cuts a stream of bytes into frames, for both ends of a worker's socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pushserve_runtime.frames import HEADER, FrameError

SMALLEST: Final = HEADER.size - 4
"""Of what a frame's length says."""

Frame = tuple[int, int, memoryview]
"""Request id, kind, body."""

Admit = Callable[[int, int, int], None]
"""Told a frame's length, request id and kind; raises FrameError for one that must not come."""


class FrameSplitter:
    """Takes bytes in whatever pieces they come.

    `admit` is asked about each frame once, when its head is there and before its body is waited
    for. So what is kept is never more than a frame that was admitted, and one piece.
    """

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self._kept = bytearray()
        self._needed = HEADER.size
        self._admitted = False

    def feed(self, data: bytes | bytearray) -> list[Frame]:
        """Give the frames that are whole now; their bodies are views, of `data` where they can be.

        Raises:
            FrameError: a head is wrong, or was not admitted. No more may be fed.
        """
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return []
            data, self._kept = self._kept, bytearray()
        frames: list[Frame] = []
        view = memoryview(data)
        at, end = 0, len(data)
        self._needed = HEADER.size
        while end - at >= HEADER.size:
            size, request, kind = HEADER.unpack_from(data, at)
            if not self._admitted:
                if size < SMALLEST:
                    raise FrameError(f"a frame of {size} bytes")
                self._admit(size, request, kind)
            self._admitted = end - at < 4 + size
            if self._admitted:
                self._needed = 4 + size
                break
            frames.append((request, kind, view[at + HEADER.size : at + 4 + size]))
            at += 4 + size
        if at < end:
            self._kept = bytearray(view[at:])
        return frames
