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

from pushserve_server.unix_sockets import FileId, file_id

# The kernel's limit for a unix socket's path is 108 bytes with the ending zero.
_MAX_PATH: Final = 100
_SUFFIX: Final = ".wakeup"
_HEARD: Final = "every-change-is-heard"
SELDOM: Final = 2.0
"""Between two looks at a registry whose changes are told, in seconds: a connection may hang."""


class Listener:
    """A socket that hears of changes. Its file may go, with the run directory: it is made again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileId | None = None
        self._socket = self._bind()

    def current(self) -> socket.socket:
        """Give the socket, which is non-blocking: another one where its file was removed."""
        if file_id(self._path) != self._file:
            with suppress(OSError):  # the run directory is not there again yet
                made = self._bind()
                self._socket.close()
                self._socket = made
        return self._socket

    def _bind(self) -> socket.socket:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.bind(str(self._path))
        except BaseException:
            made.close()
            raise
        self._file = file_id(self._path)
        return made

    def close(self) -> None:
        """Close the socket; its file stays, as after a crash."""
        self._socket.close()


class Wakeups:
    """The sockets below one run directory that processes are woken by."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir.absolute() / "wakeups"

    def listen(self, name: str) -> Listener:
        """Make this process's socket; `name` tells it from others.

        Raises:
            ValueError: the path is too long for a socket.
        """
        path = self._folder / f"{name}{_SUFFIX}"
        if len(os.fsencode(path)) >= _MAX_PATH:
            raise ValueError(f"{path} is too long for a socket; choose a shorter run directory")
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Listener(path)

    @contextmanager
    def listening(self, name: str) -> Iterator[Listener]:
        """Listen for as long as the block runs; the socket's file goes with it."""
        listener = self.listen(name)
        try:
            yield listener
        finally:
            listener.close()
            (self._folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)

    def note_heard(self, heard: bool) -> None:
        """Note whether every change is told here at once, also those that other servers make."""
        mark = self._folder / _HEARD
        if heard:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def all_heard(self) -> bool:
        """Say whether every change is told at once, so that looking for them may be rare."""
        return (self._folder / _HEARD).exists()

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


class Looks:
    """Says when a loop that turns often has to look at the registry; for one loop.

    At every turn, unless every change is told: then after a wakeup, and seldom.
    """

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._looked = -SELDOM

    def due(self, now: float, *, woken: bool) -> bool:
        """Say whether to look at this turn; times are by `time.monotonic()`."""
        if not woken and now - self._looked < SELDOM and self._wakeups.all_heard():
            return False
        self._looked = now
        return True


def _is_socket(path: Path) -> bool:
    try:
        return path.suffix == _SUFFIX and stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False


def wait(listener: Listener, timeout: float) -> bool:
    """Wait up to `timeout` seconds to be woken, and take all that came; whether one did."""
    wakeups = listener.current()
    with selectors.DefaultSelector() as selector:
        selector.register(wakeups, selectors.EVENT_READ)
        if not selector.select(timeout):
            return False
    with suppress(BlockingIOError):
        while wakeups.recv(16):
            pass
    return True
