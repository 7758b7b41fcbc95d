"""Blobs: files from what `git cat-file --batch` writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, Self

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BlobWriter:
    """Takes the output in pieces and writes each blob to its target, in order.

    The output is a line "<oid> blob <size>", the content and a newline, for each blob.

    Raises:
        FileExistsError: there is something at a target.
        ValueError: from `feed`: git wrote something else.
    """

    def __init__(self, targets: Sequence[Path]) -> None:
        self._targets = iter(targets)
        self._header = bytearray()
        self._left = 0
        """Bytes of the blob, and the newline after it, that are still to come."""
        self._file: BinaryIO | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next piece."""
        view = memoryview(chunk)
        while view:
            view = self._content(view) if self._left else self._headline(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _headline(self, view: memoryview) -> memoryview:
        head, newline, _ = bytes(view).partition(b"\n")
        self._header += head
        if newline:
            _, kind, size = self._header.split(b" ")
            if kind != b"blob":
                raise ValueError(f"git wrote {bytes(self._header)!r} for a blob")
            self._header.clear()
            self._left = int(size) + 1
            self._file = _create(next(self._targets))
        return view[len(head) + len(newline) :]

    def _content(self, view: memoryview) -> memoryview:
        if self._file is None:
            raise ValueError("git wrote more than was asked for")
        piece = view[: self._left]
        self._left -= len(piece)
        self._file.write(piece if self._left else piece[:-1])
        if not self._left:
            self._file.close()
        return view[len(piece) :]


def _create(target: Path) -> BinaryIO:
    file = os.open(target, _FLAGS, 0o644)
    os.fchmod(file, 0o644)  # the sandbox's user reads it, whatever the server's umask
    return os.fdopen(file, "wb")
