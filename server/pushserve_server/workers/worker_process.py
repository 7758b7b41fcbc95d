"""Worker process: one of a version's workers, started, asked whether it answers, and killed."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Job
from pushserve_server.worker_sockets import (
    HUNG,
    Complaint,
    begin_anew,
    complain,
    complaint_of,
    forget_the_one_before,
)
from pushserve_server.workers.backoff import Backoff
from pushserve_server.workers.probe import Probe

logger = logging.getLogger(__name__)

StartJob = Callable[[int], Job]
"""Starts a worker that accepts on a descriptor."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a worker has to load its model, and to answer."""

    to_load: float
    to_answer: float


class WorkerProcess:
    """Starts a job, asks it whether it answers, kills it when it does not, and starts it again.

    `path` is where callers find its socket, `listener`, which stays while processes come and go.
    """

    def __init__(self, name: str, path: Path, listener: socket.socket, patience: Patience) -> None:
        self._name = name
        self._path = path
        self._listener = listener
        self._patience = patience
        self._running: tuple[Job, Probe] | None = None
        self._started_at = 0.0
        self._killed = False
        self._backoff = Backoff()

    @property
    def pid(self) -> int | None:
        """The process that runs."""
        return None if self._running is None else self._running[0].pid

    def is_silent(self, now: float) -> bool:
        """Whether a process runs that has owed an answer for longer than calls take."""
        return self._running is not None and self._running[1].is_silent(now)

    def tend(self, now: float, start: StartJob) -> None:
        """Look after the process once; `start` is called when one has to be started.

        Raises:
            Exception: whatever `start` raises; it is called again when the wait is over.
        """
        if self._running is not None:
            self._look_after(*self._running, now)
        elif self._backoff.may_start(now):
            self._start(now, start)

    def _start(self, now: float, start: StartJob) -> None:
        begin_anew(self._path)
        try:
            job = start(self._listener.fileno())
        except BaseException:
            self._backoff.ended(now, now)
            raise
        patience = self._patience
        self._running = job, Probe(self._path, now, patience.to_load, patience.to_answer)
        self._started_at, self._killed = now, False

    def _look_after(self, job: Job, probe: Probe, now: float) -> None:
        end = _how_it_ended(job)
        if end:
            logger.warning("a worker of %s ended: %s", self._name, end)
            self._let_go()
            self._backoff.ended(self._started_at, now)
            return
        complaint = None if self._killed else self._complaint(probe, now)
        if complaint is not None:
            logger.warning(
                "a worker of %s (process %d) %s; it is killed and started again",
                *(self._name, job.pid, complaint.what),
            )
            self._killed = True
            job.kill()

    def _complaint(self, probe: Probe, now: float) -> Complaint | None:
        """Say what is wrong with the process, as the probe or a frontend has found."""
        was_loading = probe.is_loading
        overdue = probe.look(now)
        if was_loading and not probe.is_loading:
            forget_the_one_before(self._path)
        if overdue:
            what = "did not load its model within" if probe.is_loading else "did not answer for"
            complain(self._path, Complaint(HUNG, f"{what} {probe.allowed:g} s"))
        return complaint_of(self._path)

    def _let_go(self) -> None:
        if self._running is not None:
            job, probe = self._running
            probe.close()
            job.close()
            self._running = None

    def close(self) -> None:
        """Stop the process and listen no more."""
        self._let_go()
        self._listener.close()


def _how_it_ended(job: Job) -> str:
    """Say how a worker ended; "" while it runs."""
    poller = select.poll()
    poller.register(job, select.POLLIN)
    if not poller.poll(0):
        return ""
    try:
        end = job.wait(0)
    except Unavailable as error:
        return str(error)
    if end is None:
        return ""
    how = f"signal {end.signal}" if end.signal else f"code {end.code}"
    return f"{how} after {end.cpu_seconds:.1f} s of CPU, {end.max_rss >> 20} MiB at most"
