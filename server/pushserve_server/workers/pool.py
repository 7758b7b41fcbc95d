"""Worker pool: the workers of one server; which to run is planned, then carried out.

The supervisor owns each version's listening socket, so that frontends can connect, and
wait, while a worker starts or starts again.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pushserve_runtime.messages import ChannelError
from pushserve_server.build.bundles import Bundle, BundleBroken, Bundles
from pushserve_server.data_layout import worker_note, worker_socket
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Job, JobPolicy, SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.supervision.backoff import Backoff
from pushserve_server.unix_sockets import FileId, file_id, listen
from pushserve_server.worker_notes import say_why
from pushserve_server.workers.job_reports import JobReports

logger = logging.getLogger(__name__)

_BACKLOG: Final = 128
_CRASHES: Final = 3
"""In a row, while it loads, after which a version is said to be one that cannot be loaded."""


@dataclass(frozen=True, slots=True)
class SlotChanges:
    """Versions whose slot is to be opened, and those whose slot is to be closed."""

    open: tuple[int, ...]
    close: tuple[int, ...]


def slot_changes(
    wanted: Mapping[int, Version], loaded: Collection[int], slots: Collection[int]
) -> SlotChanges:
    """Decide: a worker runs while its version is to run or a frontend still has it loaded."""
    needed = {i for i, version in wanted.items() if version.engine is EngineName.WORKER}
    return SlotChanges(
        open=tuple(sorted(needed - set(slots))),
        close=tuple(sorted(set(slots) - needed - set(loaded))),
    )


@dataclass(slots=True)
class _Slot:
    """One version's listening socket and the processes that accept on it.

    `failure` is why it cannot be loaded, "" while it may be.
    """

    version: Version
    deployment: str
    listener: socket.socket
    file: FileId | None
    jobs: dict[Job, JobReports] = field(default_factory=dict)
    size: int = 1
    crashes: int = 0
    failure: str = ""
    lacks_bundle: bool = False
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"{self.version.model} v{self.version.number}"


class Workers:
    """Runs the workers that the plan asks for, and starts again what ends.

    One thread may open and close slots while another one tends them.
    """

    def __init__(
        self, settings: Settings, run_dir: Path, zygote: SandboxClient, bundles: Bundles
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._zygote = zygote
        self._bundles = bundles
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()

    @property
    def slots(self) -> AbstractSet[int]:
        """Ids of the versions that have a slot."""
        with self._lock:
            return set(self._slots)

    @property
    def pids(self) -> dict[int, list[int]]:
        """The processes that run for each version."""
        with self._lock:
            return {i: [job.pid for job in slot.jobs] for i, slot in self._slots.items()}

    @property
    def without_bundle(self) -> set[int]:
        """Ids of the versions whose bundle was not there when a worker was to start."""
        with self._lock:
            return {i for i, slot in self._slots.items() if slot.lacks_bundle}

    def carry_out(
        self,
        changes: SlotChanges,
        versions: Mapping[int, Version],
        deployments: Mapping[int, str] | None = None,
    ) -> None:
        """Open and close slots; `deployments` name those that the versions come from, by id."""
        with self._lock:
            for version_id in changes.close:
                self._close(self._slots.pop(version_id))
            for version_id in changes.open:
                listener, file = self._listen(version_id)
                deployment = (deployments or {}).get(version_id, "")
                self._slots[version_id] = _Slot(versions[version_id], deployment, listener, file)
            for version_id, slot in self._slots.items():
                slot.version = versions.get(version_id, slot.version)

    def _listen(self, version_id: int) -> tuple[socket.socket, FileId | None]:
        path = worker_socket(self._run_dir, version_id)
        return listen(path, _BACKLOG), file_id(path)

    def tend(self) -> None:
        """Note which workers have ended, and start those whose wait is over."""
        with self._lock:
            for slot in self._slots.values():
                try:
                    self._tend(slot, time.monotonic())
                except Exception:
                    slot.backoff.ended(time.monotonic(), was_ready=False)
                    text = "the worker of %s; tried again in %.1f s"
                    logger.exception(text, slot.name, slot.backoff.wait)

    def _tend(self, slot: _Slot, now: float) -> None:
        for job, reports in list(slot.jobs.items()):
            reports.hear()
            end = _how_it_ended(job, reports)
            if end or reports.failure:
                self._let_go(slot, job, end, now)
            elif reports.ready:
                slot.crashes = 0
                self._note(slot, "")
        if slot.failure:
            say_why(worker_note(self._run_dir, slot.version.id), slot.failure)
        if slot.backoff.may_start(now):
            self._keep_reachable(slot)
            if len(slot.jobs) < slot.size:
                self._start(slot, now)

    def _let_go(self, slot: _Slot, job: Job, end: str, now: float) -> None:
        """Note how a worker has ended; end it, where it is of no use."""
        reports = slot.jobs.pop(job)
        reports.hear()  # its last words
        job.close()
        slot.backoff.ended(now, was_ready=reports.ready)
        said = ": ".join(filter(None, (end, reports.failure or reports.trouble)))
        logger.warning("a worker of %s (process %d) ended: %s", slot.name, job.pid, said)
        if reports.ready or reports.trouble:
            return
        slot.crashes += 1
        if reports.failure:
            self._note(slot, reports.failure)
        elif slot.crashes >= _CRASHES:
            self._note(slot, f"its process ended while it loaded the model ({end})")

    def _note(self, slot: _Slot, failure: str) -> None:
        """Tell frontends why the model cannot be loaded, or that it can."""
        if failure == slot.failure:
            return
        slot.failure = failure
        worker_note(self._run_dir, slot.version.id).unlink(missing_ok=True)
        if failure:
            logger.error("%s (%s) cannot be loaded: %s", slot.name, slot.deployment, failure)

    def _keep_reachable(self, slot: _Slot) -> None:
        """Have the workers listen on a new socket where the file of the last one has gone."""
        path = worker_socket(self._run_dir, slot.version.id)
        if slot.file is not None and file_id(path) == slot.file:
            return
        listener, slot.file = self._listen(slot.version.id)
        slot.listener.close()
        slot.listener = listener
        for job in list(slot.jobs):
            try:
                job.send({"listen": True}, fds=[listener.fileno()], timeout=1.0)
            except Unavailable:  # another one is started in its place
                del slot.jobs[job]
                job.close()
        logger.warning("the socket of %s was removed; made it again", slot.name)

    def _start(self, slot: _Slot, now: float) -> None:
        try:
            bundle = self._bundles.open(slot.version.digest)
            slot.size = max(1, int(bundle.spec.get("workers", 1)))
            while len(slot.jobs) < slot.size:
                job = self._start_job(slot, bundle)
                slot.jobs[job] = JobReports(job, str(bundle.folder))
            slot.lacks_bundle = False
        except (BundleBroken, Unavailable) as error:
            # A missing bundle is built again by the deployer, a missing zygote started again.
            slot.lacks_bundle = isinstance(error, BundleBroken)
            slot.backoff.ended(now, was_ready=False)
            logger.warning("the worker of %s cannot be started yet: %s", slot.name, error)

    def _start_job(self, slot: _Slot, bundle: Bundle) -> Job:
        spec = {
            **bundle.spec,
            "folder": str(bundle.folder),
            "signature": slot.version.signature.to_json(),
            "fast_path": _chosen_fast_path(slot.version),
        }
        policy = JobPolicy(read=(bundle.folder,), write=(), memory=self._settings.sandbox_memory)
        version = slot.version
        log_as = {"model": version.model, "version": version.number, "deployment": slot.deployment}
        fds = (slot.listener.fileno(),)
        return self._zygote.start("worker", spec, policy, fds=fds, log_as=log_as)

    def _close(self, slot: _Slot) -> None:
        for job in slot.jobs:
            job.close()
        slot.listener.close()
        for path in (worker_socket, worker_note):
            path(self._run_dir, slot.version.id).unlink(missing_ok=True)
        logger.info("stopped the worker of %s", slot.name)

    def close(self) -> None:
        """Stop every worker."""
        with self._lock:
            for slot in self._slots.values():
                self._close(slot)
            self._slots.clear()


def _chosen_fast_path(version: Version) -> str | None:
    """Give what the build has chosen; those before 0.2 said "walk"."""
    report = version.report
    old: str | None = report.get("walk")
    return report.get("fast_path", old and old.removeprefix("walked "))


def _how_it_ended(job: Job, reports: JobReports) -> str:
    """Say how a worker ended; "" while it runs."""
    try:
        end = job.wait(0)
    except (Unavailable, ChannelError) as error:
        reports.trouble = str(error)  # the zygote's
        return "with the zygote"
    if end is None:
        return ""
    how = f"signal {end.signal}" if end.signal else f"code {end.code}"
    return f"{how} after {end.cpu_seconds:.1f} s of CPU, {end.max_rss >> 20} MiB at most"
