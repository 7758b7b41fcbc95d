"""Forked process: one that the fork server has forked, with `subprocess.Popen`'s methods.

Nothing here waits for the fork server, which may hang: what it says is read when the process is
looked at. A process outlives the fork server that it came from, since it has no part in its work.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.forking import ONE_THREAD
from pushserve_runtime.messages import SMALL, ChannelError, Inbox
from pushserve_server.supervision.child_process import ChildProcess
from pushserve_server.supervision.heartbeat import Heartbeats

logger = logging.getLogger(__name__)

MODULE: Final = "pushserve_server.processes.fork_server"
UNKNOWN_CODE: Final = 255
"""Of a process whose end nobody saw, because the fork server had ended before."""
_LOOK_AGAIN: Final = 0.02


class ForkServer(ChildProcess):
    """The fork server that is to run, and the one that does.

    `database` is the address whose drivers the forked processes need; only its kind is told.
    """

    def __init__(self, database: str, *, start_timeout: float, hang_timeout: float) -> None:
        super().__init__(
            "fork-server", self._start_next, start_timeout=start_timeout, hang_timeout=hang_timeout
        )
        self._database_kind = database.partition(":")[0]
        self._line: _Line | None = None

    def _start_next(self, heartbeats: Heartbeats) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", MODULE, self._database_kind, str(heartbeats.fd)]
            try:
                process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    start_new_session=True,
                    pass_fds=[heartbeats.fd],
                    env={**os.environ, **ONE_THREAD},
                )
            except BaseException:
                ours.close()
                raise
        self._line = _Line(ours)
        return process

    def fork(self, module: str, boot: bytes, heartbeats: Heartbeats) -> ForkedProcess:
        """Have a process forked that runs `module`'s `main` with what `boot`, one line, holds.

        Raises:
            OSError: it cannot be asked.
        """
        if self._line is None:
            raise ConnectionError("the fork server does not run")
        reader, lifeline = os.pipe()
        try:
            _write_at_once(lifeline, boot)
            number = self._line.ask(module, [reader, heartbeats.fd])
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(reader)
        return ForkedProcess(self._line, number, lifeline)

    def stop(self, deadline: float) -> None:
        """Hang up, which ends it; what it has forked goes on."""
        if self._line is not None:
            self._line.close()
        super().stop(deadline)


def _write_at_once(pipe: int, data: bytes) -> None:
    """Write to a pipe that nobody may ever read.

    Raises:
        OSError: it is more than a pipe can be made to hold.
    """
    os.set_blocking(pipe, False)
    if len(data) > select.PIPE_BUF:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, len(data))
    written = os.write(pipe, data)
    if written < len(data):
        raise BlockingIOError(f"a pipe takes {written} of {len(data)} bytes")


class _Line:
    """The connection to one fork server, and what it has said of each process."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._inbox = Inbox(SMALL)
        self._asked = 0
        self.is_up = True
        self.forked: dict[int, tuple[int, int]] = {}
        """Of each process that is not taken over yet: pid and pidfd."""
        self.ended: dict[int, int] = {}
        """Its exit code, likewise."""

    def ask(self, module: str, fds: list[int]) -> int:
        """Ask for a process; give its number.

        Raises:
            OSError: the fork server has gone, or has read nothing for long.
        """
        self._asked += 1
        self._sock.settimeout(0.0)  # it waits for nobody
        try:
            messages.send(self._sock, {"fork": self._asked, "module": module}, fds)
        except OSError:
            self.close()
            raise
        return self._asked

    def read(self) -> None:
        """Take what has been said meanwhile."""
        if not self.is_up:
            return
        try:
            is_up = self._inbox.read(self._sock)
            while (message := self._inbox.take()) is not None:
                self._note(message)
        except (ChannelError, OSError):
            is_up = False
        if not is_up:
            self.close()

    def _note(self, message: Mapping[str, Any]) -> None:
        if "forked" in message:
            self.forked[message["forked"]] = message["pid"], self._inbox.fds.pop(0)
        elif "failed" in message:
            logger.warning("the fork server cannot fork: %s", message["error"])
            self.ended[message["failed"]] = UNKNOWN_CODE
        else:
            self.ended[message["ended"]] = message["code"]

    def close(self) -> None:
        """Hang up, which ends the fork server."""
        self.is_up = False
        self._sock.close()
        self._inbox.close()


class ForkedProcess:
    """One process, from when it was asked for. `pid` is 0 until it is known."""

    def __init__(self, line: _Line, number: int, lifeline: int) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._line = line
        self._number = number
        self._lifeline = lifeline
        self._pidfd = -1
        self._signals: list[int] = []

    def poll(self) -> int | None:
        """Give its exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            self._line.read()
            if self._number in self._line.forked:
                self.pid, self._pidfd = self._line.forked.pop(self._number)
                for number in self._signals:
                    self._send(number)
            code = self._line.ended.pop(self._number, None)
            if code is None and not self._line.is_up and self._has_ended():
                code = UNKNOWN_CODE
            if code is not None:
                self._close(code)
        return self.returncode

    def _has_ended(self) -> bool:
        """Whether it has, or never was; the kernel tells it without the fork server."""
        if self._pidfd < 0:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._pidfd, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _close(self, code: int) -> None:
        self.returncode = code
        os.close(self._lifeline)  # one whose pid was never told stops by it
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def wait(self, timeout: float) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(_LOOK_AGAIN)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended; as soon as it is forked, if it is not yet."""
        if self.poll() is not None:
            return
        if self._pidfd >= 0:
            self._send(number)
        else:
            self._signals.append(number)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)
