"""Zygote process: started, asked whether it lives, and started again.

It listens on a socket that the supervisor makes. Where that socket's file is removed, a new one
is handed over, since a zygote that is started anew would end every worker.
"""

from __future__ import annotations

import logging
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pushserve_runtime import messages
from pushserve_runtime.messages import SMALL, ChannelError, Inbox
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import BACKLOG, end_zygote, is_ready
from pushserve_server.supervision.backoff import Backoff
from pushserve_server.supervision.stall import StallWatch, thread_state
from pushserve_server.unix_sockets import file_id, listen

logger = logging.getLogger(__name__)


class ZygoteProcess:
    """The zygote that is to run, and the one that does. `start` starts it, at `path`."""

    def __init__(
        self,
        start: Callable[[], subprocess.Popen[bytes]],
        path: Path,
        *,
        start_timeout: float,
        hang_timeout: float,
    ) -> None:
        self._start = start
        self._path = path
        self._start_timeout = start_timeout
        self._hang_timeout = hang_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._control: ZygoteControl | None = None
        self._watch = StallWatch(start_timeout, 0.0)
        self._backoff = Backoff()
        self.ready = False
        """Whether it takes jobs."""

    def tend(self, now: float) -> None:
        """Start it when it does not run, kill it when it hangs.

        Raises:
            OSError: it cannot be started, or not be asked. That is tried again.
        """
        process = self._process
        if process is None:
            if self._backoff.may_start(now):
                self._begin(now)
        elif process.poll() is not None:
            code = process.returncode
            how = f"ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
            self._end(process, how, now)
        elif self.ready:
            self._look(process, now)
        else:
            self._await_ready(process, now)

    def _begin(self, now: float) -> None:
        self._watch = StallWatch(self._start_timeout, now)
        try:
            self._process = self._start()
        except BaseException:
            self._backoff.ended(now, was_ready=False)
            raise

    def _await_ready(self, process: subprocess.Popen[bytes], now: float) -> None:
        try:
            self.ready = is_ready(process)
        except Unavailable:
            return  # it has ended; the next time finds out how
        if self.ready:
            self._watch = StallWatch(self._hang_timeout, now)
            return
        self._watch.look(0, partial(thread_state, process.pid, process.pid), now)
        if self._watch.is_hung:
            self._end(process, f"was not ready within {self._start_timeout:g} s", now)

    def _look(self, process: subprocess.Popen[bytes], now: float) -> None:
        """See that it answers, and that its socket can be found."""
        if self._control is None:
            self._control = ZygoteControl(self._path)
        self._control.ask_if_alive()
        state = partial(thread_state, process.pid, process.pid)
        self._watch.look(self._control.answers, state, now)
        if self._watch.is_hung:
            self._end(process, f"lives and has not answered for {self._hang_timeout:g} s", now)
        else:
            self._control.keep_reachable()

    def _end(self, process: subprocess.Popen[bytes], why: str, now: float) -> None:
        self._backoff.ended(now, was_ready=self.ready)
        text = "the zygote %s; its jobs end with it; starting it again in %.1f s"
        logger.warning(text, why, self._backoff.wait)
        self.ready = False
        self.close(process)

    def close(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """End it, if it runs, and with it its jobs."""
        process, self._process = process or self._process, None
        if self._control is not None:
            self._control.close()
            self._control = None
        if process is not None:
            end_zygote(process)


class ZygoteControl:
    """The connection on which a zygote is asked for something else than jobs.

    Raises:
        OSError: it cannot be reached.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = file_id(path)
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.setblocking(False)
        try:
            self._sock.connect(str(path))
        except BaseException:
            self._sock.close()
            raise
        self._inbox = Inbox(SMALL)
        self._asked = False
        self.answers = 0
        """How often it has said that it lives."""

    def ask_if_alive(self) -> None:
        """Take its answer, if there is one, and ask again."""
        with suppress(ChannelError):
            self._inbox.read(self._sock)
            while (answer := self._inbox.take()) is not None:
                if "alive" in answer:
                    self.answers += 1
                    self._asked = False
        if not self._asked:
            self._send({"ask": "alive"})
            self._asked = True

    def keep_reachable(self) -> None:
        """Hand over a new socket where the file of the last one has gone.

        Raises:
            OSError: the folder is gone as well.
        """
        if self._file is not None and file_id(self._path) == self._file:
            return
        with listen(self._path, BACKLOG) as listener:
            self._send({"ask": "listen"}, [listener.fileno()])
        self._file = file_id(self._path)
        logger.warning("the zygote's socket was removed; made it again")

    def _send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        messages.send(self._sock, message, fds or [])

    def close(self) -> None:
        """Hang up."""
        self._inbox.close()
        self._sock.close()
