"""Worker pool: the workers of one server; which to run is planned, then carried out.

The supervisor owns each version's listening socket, so that frontends can connect, and
wait, while a worker starts or starts again.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pushserve_runtime.job_policy import nice_of
from pushserve_server.build.bundles import BundleBroken, Bundles
from pushserve_server.data_layout import worker_folder
from pushserve_server.domain.door_trial import TRIALS_KEY
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import JobPolicy, SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.supervision.backoff import Backoff
from pushserve_server.unix_sockets import ListeningSocket
from pushserve_server.worker_sockets import may_be_loadable, say_unloadable, socket_name
from pushserve_server.workers.job_reports import JobReports
from pushserve_server.workers.processor_share import ProcessorShare
from pushserve_server.workers.worker_process import BACKLOG, Patience, WorkerProcess

logger = logging.getLogger(__name__)


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
    """One version's workers; none until its bundle has said how many there are to be.

    `failure` is why it cannot be loaded, "" while it may be.
    """

    version: Version
    deployment: str
    processes: list[WorkerProcess] = field(default_factory=list)
    failure: str = ""
    lacks_bundle: bool = False
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"{self.version.model} v{self.version.number}"

    def why_unloadable(self) -> str:
        """Say why no process can load the model; "" where one has, or may."""
        if any(process.ready for process in self.processes):
            return ""
        return next(filter(None, (process.failure for process in self.processes)), "")


class Workers:
    """Runs the workers that the plan asks for, and starts again what ends or hangs.

    One thread may open and close slots while another one tends them.
    """

    def __init__(
        self, settings: Settings, run_dir: Path, zygote: SandboxClient, bundles: Bundles
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._zygote = zygote
        self._bundles = bundles
        self._patience = Patience(settings.build_timeout, settings.predict_timeout)
        self._share = ProcessorShare()
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
            return {
                i: [one.pid for one in slot.processes if one.pid is not None]
                for i, slot in self._slots.items()
            }

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
                deployment = (deployments or {}).get(version_id, "")
                self._slots[version_id] = _Slot(versions[version_id], deployment)
            for version_id, slot in self._slots.items():
                slot.version = versions.get(version_id, slot.version)

    def tend(self) -> None:
        """Look after every process once, and start those whose wait is over."""
        with self._lock:
            now = time.monotonic()
            for slot in self._slots.values():
                if slot.backoff.may_start(now):
                    self._tend_guarded(slot, now)
            self._share.tend(
                {
                    process.pid
                    for slot in self._slots.values()
                    for process in slot.processes
                    if process.pid is not None and process.is_silent(now)
                }
            )

    def _tend_guarded(self, slot: _Slot, now: float) -> None:
        """Tend one slot; what it raises is no other slot's."""
        try:
            if not slot.processes:
                self._open(slot)
            for process in slot.processes:
                process.tend(now, partial(self._start_job, slot))
            self._note_failure(slot)
        except (BundleBroken, Unavailable) as error:
            # A missing bundle is built again by the deployer, a missing zygote started again.
            slot.lacks_bundle = isinstance(error, BundleBroken)
            slot.backoff.ended(now, was_ready=False)
            logger.warning("the worker of %s cannot be started yet: %s", slot.name, error)
        except Exception:
            slot.backoff.ended(now, was_ready=False)
            text = "the worker of %s; tried again in %.1f s"
            logger.exception(text, slot.name, slot.backoff.wait)
        else:
            slot.backoff.reset()

    def _open(self, slot: _Slot) -> None:
        """Make the sockets, all at once for who looks: the folder gets its name last."""
        bundle = self._bundles.open(slot.version.digest)
        folder = worker_folder(self._run_dir, slot.version.id)
        new = folder.with_suffix(".new")
        for old in (folder, new):
            shutil.rmtree(old, ignore_errors=True)
        new.mkdir(mode=0o700)
        count = max(1, int(bundle.spec.get("workers", 1)))
        made = [ListeningSocket.make(new / socket_name(i), BACKLOG) for i in range(count)]
        new.rename(folder)
        for listening in made:
            listening.path = folder / listening.path.name
        slot.processes = [WorkerProcess(slot.name, listening, self._patience) for listening in made]

    def _note_failure(self, slot: _Slot) -> None:
        """Tell frontends why the model cannot be loaded, or that it may be."""
        folder, why = worker_folder(self._run_dir, slot.version.id), slot.why_unloadable()
        if why != slot.failure:
            slot.failure = why
            may_be_loadable(folder)
            if why:
                logger.error("%s (%s) cannot be loaded: %s", slot.name, slot.deployment, why)
        if why:
            say_unloadable(folder, why)

    def _start_job(self, slot: _Slot, listener: int) -> JobReports:
        bundle = self._bundles.verify(slot.version.digest)
        slot.lacks_bundle = False
        version = slot.version
        spec = {
            **{key: value for key, value in bundle.spec.items() if key != TRIALS_KEY},
            "folder": str(bundle.folder),
            "signature": version.signature.to_json(),
            "fast_path": _chosen_fast_path(version),
            "joins_calls": version.report.get("joins_calls"),
            "answer_limit": self._settings.max_answer,
        }
        policy = JobPolicy(
            read=(bundle.folder,),
            write=(),
            memory=self._settings.sandbox_memory,
            nice=nice_of(len(slot.processes)),
        )
        log_as = {"model": version.model, "version": version.number, "deployment": slot.deployment}
        job = self._zygote.start("worker", spec, policy, fds=(listener,), log_as=log_as)
        return JobReports(job, str(bundle.folder))

    def _close(self, slot: _Slot) -> None:
        # The sockets' names first: so frontends know that what was not read may be asked again.
        shutil.rmtree(worker_folder(self._run_dir, slot.version.id), ignore_errors=True)
        for process in slot.processes:
            process.close()
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
