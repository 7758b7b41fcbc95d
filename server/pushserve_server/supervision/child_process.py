"""Child process: one of the server, started, watched, and started again when it ends or hangs."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from pushserve_server.supervision.backoff import Backoff
from pushserve_server.supervision.heartbeat import Heartbeats
from pushserve_server.supervision.stall import StallWatch, thread_state

logger = logging.getLogger(__name__)

SHOW_STACKS: Final = signal.SIGUSR1
"""A child that gets it writes the stacks of all its threads to standard error."""
_STARTING: Final = "start"
_STOP_PATIENCE: Final = 5.0


class Process(Protocol):
    """What is asked of a process: a part of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Give its exit code; None while it runs."""

    def wait(self, timeout: float) -> int:
        """Wait for its end."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


Start = Callable[[Heartbeats], Process]


class ChildProcess:
    """A process that is to run, and the one that does.

    `start` starts it. One that is not ready within `start_timeout` seconds, or one of whose
    loops does not turn for `hang_timeout`, is killed.
    """

    def __init__(
        self, name: str, start: Start, *, start_timeout: float, hang_timeout: float
    ) -> None:
        self.name = name
        self._start = start
        self._start_timeout = start_timeout
        self._hang_timeout = hang_timeout
        # Made here, so that whatever the machine lacks later, the child can be started again.
        self._heartbeats = Heartbeats.create()
        self._process: Process | None = None
        self._watches: dict[str, StallWatch] = {}
        self._shown = self._killed = False
        self._backoff = Backoff()

    @property
    def is_ready(self) -> bool:
        """Whether the process that runs does its work."""
        return self._process is not None and self._heartbeats.is_ready

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not been seen to end."""
        return self._process is not None

    def tend(self, now: float) -> bool:
        """Start it when it does not run, kill it when it hangs; say whether it has just ended.

        Raises:
            OSError: it cannot be started. That is tried again.
        """
        process = self._process
        if process is None:
            if self._backoff.may_start(now):
                self._begin(now)
            return False
        code = process.poll()
        if code is None:
            if not self._killed:
                self._look(process, now)
            return False
        self._process = None
        self._backoff.ended(now, was_ready=self._heartbeats.is_ready)
        how = f"signal {-code}" if code < 0 else f"code {code}"
        text = "%s ended with %s; starting it again in %.1f s"
        logger.warning(text, self.name, how, self._backoff.wait)
        return True

    def start_soon(self) -> None:
        """Wait no longer to start it again: what kept it from starting is over."""
        self._backoff.reset()

    def _begin(self, now: float) -> None:
        self._heartbeats.clear()
        self._watches = {_STARTING: StallWatch(self._start_timeout, now)}
        self._shown = self._killed = False
        try:
            self._process = self._start(self._heartbeats)
        except BaseException:
            self._backoff.ended(now, was_ready=False)
            raise

    def _look(self, process: Process, now: float) -> None:
        """Look whether it gets ready, and whether its loops turn."""
        if self._heartbeats.is_ready:
            self._watches.pop(_STARTING, None)
        else:
            watch = self._watches[_STARTING]
            watch.look(0, partial(thread_state, process.pid, process.pid), now)
            if watch.is_hung:
                self._kill(process, f"was not ready within {self._start_timeout:g} s")
                return
        for turns in self._heartbeats.turns():
            patience = self._hang_timeout * turns.patience
            watch = self._watches.setdefault(turns.name, StallWatch(patience, now))
            watch.look(turns.turned, partial(thread_state, process.pid, turns.thread), now)
            if watch.is_hung:
                what = f"lives and does not answer (its {turns.name} stood still for"
                self._kill(process, f"{what} {patience:g} s)")
                return
            if watch.looks_hung and not self._shown:
                self._shown = True
                text = "%s: its %s has not turned for %.0f s; the stacks of its threads follow"
                logger.warning(text, self.name, turns.name, watch.missed)
                process.send_signal(SHOW_STACKS)

    def _kill(self, process: Process, why: str) -> None:
        logger.error("%s %s; killing it, to start it again", self.name, why)
        process.kill()
        self._killed = True

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, deadline: float) -> None:
        """Ask it to stop; kill it when it has not by then, on the monotonic clock."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop; killing it", self.name)
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # the kernel holds it: a disk that hangs
                process.wait(_STOP_PATIENCE)
