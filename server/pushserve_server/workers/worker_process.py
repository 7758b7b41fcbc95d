"""Worker process: one of a version's workers, started, asked whether it answers, and killed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pushserve_runtime.messages import ChannelError
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Job
from pushserve_server.supervision.backoff import Backoff
from pushserve_server.unix_sockets import ListeningSocket
from pushserve_server.worker_sockets import (
    BROKEN,
    HUNG,
    Complaint,
    begin_anew,
    complain,
    complaint_of,
    forget_the_one_before,
)
from pushserve_server.workers.job_reports import JobReports
from pushserve_server.workers.probe import Probe

logger = logging.getLogger(__name__)

BACKLOG: Final = 128
"""Of the socket: callers that may wait for a process to be there."""
_CRASHES: Final = 3
"""In a row, while it loads, after which the model is said to be one that cannot be loaded."""
_LONG: Final = 60.0
"""Seconds after which a worker that then lied is started again at once."""

StartJob = Callable[[int], JobReports]
"""Starts a worker that accepts on a descriptor, and hears it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a worker has to load its model, and to answer."""

    to_load: float
    to_answer: float


@dataclass(slots=True)
class _Running:
    """One process, from its start until its end is known."""

    reports: JobReports
    probe: Probe
    started_at: float
    complaint: Complaint | None = None

    @property
    def job(self) -> Job:
        return self.reports.job

    def close(self) -> None:
        self.probe.close()
        self.job.close()


class WorkerProcess:
    """Starts a job, asks it whether it answers, kills it when it does not, and starts it again.

    Its socket, `listening`, stays while processes come and go.
    """

    def __init__(self, name: str, listening: ListeningSocket, patience: Patience) -> None:
        self._name = name
        self._listening = listening
        self._path = listening.path
        self._patience = patience
        self._running: _Running | None = None
        self._crashes = 0
        self._backoff = Backoff()
        self.failure = ""
        """Why it cannot load the model, "" while it may."""

    @property
    def pid(self) -> int | None:
        """The process that runs."""
        return None if self._running is None else self._running.job.pid

    @property
    def ready(self) -> bool:
        """Whether a process runs that has loaded the model."""
        return self._running is not None and self._running.reports.ready

    def is_silent(self, now: float) -> bool:
        """Whether a process runs that has owed an answer for longer than calls take."""
        return self._running is not None and self._running.probe.is_silent(now)

    def tend(self, now: float, start: StartJob) -> None:
        """Look after the process once; `start` is called when one has to be started.

        Raises:
            Exception: whatever `start` raises; it is called again when the wait is over.
        """
        self._keep_reachable()
        if self._running is not None:
            self._look_after(self._running, now)
        elif self._backoff.may_start(now):
            self._start(now, start)

    def _keep_reachable(self) -> None:
        """Listen on a new socket where the file of the last one has gone."""
        if self._listening.is_reachable:
            return
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        before, self._listening = self._listening, ListeningSocket.make(self._path, BACKLOG)
        before.close()
        if self._running is not None:
            fds = [self._listening.socket.fileno()]
            try:
                self._running.job.send({"listen": True}, fds=fds, timeout=1.0)
            except Unavailable:  # it has ended, or another one is to be started in its place
                self._running.job.kill()
        logger.warning("a socket of %s was removed; made it again", self._name)

    def _start(self, now: float, start: StartJob) -> None:
        begin_anew(self._path)
        try:
            reports = start(self._listening.socket.fileno())
        except BaseException:
            self._backoff.ended(now, was_ready=False)
            raise
        patience = self._patience
        probe = Probe(self._path, now, patience.to_load, patience.to_answer)
        self._running = _Running(reports, probe, now)

    def _look_after(self, running: _Running, now: float) -> None:
        running.reports.hear()
        end = _how_it_ended(running)
        if end or running.reports.failure:
            self._let_go(running, end, now)
            return
        if running.reports.ready:
            self._crashes, self.failure = 0, ""
        complaint = None if running.complaint else self._complaint(running.probe, now)
        if complaint:
            logger.warning(
                "a worker of %s (process %d) %s; it is killed and started again",
                *(self._name, running.job.pid, complaint.what),
            )
            running.complaint = complaint
            running.job.kill()

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

    def _let_go(self, running: _Running, end: str, now: float) -> None:
        """Note how the process has ended; end it, where it is of no use."""
        reports = running.reports
        reports.hear()  # its last words
        self._running = None
        running.close()
        lied = running.complaint is not None and running.complaint.reason == BROKEN
        worked = reports.ready and (not lied or now - running.started_at > _LONG)
        self._backoff.ended(now, was_ready=worked)
        said = ": ".join(filter(None, (end, reports.failure or reports.trouble)))
        logger.warning("a worker of %s (process %d) ended: %s", self._name, running.job.pid, said)
        if reports.ready or reports.trouble:
            return
        self._crashes += 1
        if reports.failure:
            self.failure = reports.failure
        elif self._crashes >= _CRASHES:
            why = running.complaint.what if running.complaint else end
            self.failure = f"its process ended while it loaded the model ({why})"

    def close(self) -> None:
        """Stop the process and listen no more."""
        if self._running is not None:
            self._running.close()
            self._running = None
        self._listening.close()


def _how_it_ended(running: _Running) -> str:
    """Say how a worker ended; "" while it runs."""
    try:
        end = running.job.wait(0)
    except (Unavailable, ChannelError) as error:
        running.reports.trouble = str(error)  # the zygote's
        return "with the zygote"
    if end is None:
        return ""
    how = f"signal {end.signal}" if end.signal else f"code {end.code}"
    return f"{how} after {end.cpu_seconds:.1f} s of CPU, {end.max_rss >> 20} MiB at most"
