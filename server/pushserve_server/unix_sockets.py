"""Unix sockets: made, and looked after where others may remove their files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

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
