"""Wakeups: tell other processes of this server at once that something has changed.

Every loop that polls the registry listens on a datagram socket of its own in the run
directory; whoever changed something sends one byte to each of them. A byte may be lost: it
costs the one who missed it a poll.
"""

from __future__ import annotations

import os
import selectors
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# The kernel's limit for a unix socket's path is 108 bytes with the ending zero.
_MAX_PATH: Final = 100
_SUFFIX: Final = ".wakeup"


class Wakeups:
    """The sockets below one run directory that processes are woken by."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir.absolute() / "wakeups"

    def listen(self, name: str) -> socket.socket:
        """Make this process's socket, which is non-blocking; `name` tells it from others.

        Raises:
            ValueError: the path is too long for a socket.
        """
        path = self._folder / f"{name}{_SUFFIX}"
        if len(os.fsencode(path)) >= _MAX_PATH:
            raise ValueError(f"{path} is too long for a socket; choose a shorter run directory")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setblocking(False)
        listener.bind(str(path))
        return listener

    @contextmanager
    def listening(self, name: str) -> Iterator[socket.socket]:
        """Listen for as long as the block runs; the socket's file goes with it."""
        listener = self.listen(name)
        try:
            yield listener
        finally:
            listener.close()
            (self._folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)

    def wake(self) -> None:
        """Send one byte to every listener; sockets whose process is gone are removed."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            for path in self._sockets():
                try:
                    sender.sendto(b"1", str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except OSError:
                    continue  # a full queue wakes its reader anyway; the rest costs it a poll

    def _sockets(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if _is_socket(path)]
        except FileNotFoundError:
            return []


def _is_socket(path: Path) -> bool:
    try:
        return path.suffix == _SUFFIX and stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False


def wait(listener: socket.socket, timeout: float) -> bool:
    """Wait up to `timeout` seconds to be woken, and take all that came; whether one did."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        if not selector.select(timeout):
            return False
    with suppress(BlockingIOError):
        while listener.recv(16):
            pass
    return True
