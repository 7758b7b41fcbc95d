"""Unix sockets: made, and looked after where others may remove their files."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

FileId = tuple[int, int]
"""Device and inode."""


def file_id(path: Path) -> FileId | None:
    """Tell which file is at a path; None where there is none."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listen(path: Path, backlog: int) -> socket.socket:
    """Make a listening socket that only this user can connect to, in place of what is there.

    Raises:
        OSError: the folder is not there, or the machine lacks something.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # The socket's own mode is what bind gives the file: nobody can connect in between.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


@dataclass(slots=True)
class ListeningSocket:
    """One at a path, and which file it made there; whoever moves the file sets `path`."""

    path: Path
    socket: socket.socket
    file: FileId | None

    @classmethod
    def make(cls, path: Path, backlog: int) -> Self:
        """Listen at a path; see `listen`."""
        return cls(path, listen(path, backlog), file_id(path))

    @property
    def is_reachable(self) -> bool:
        """Whether its file is still there."""
        return self.file is not None and file_id(self.path) == self.file

    def close(self) -> None:
        """Listen no more."""
        self.socket.close()
