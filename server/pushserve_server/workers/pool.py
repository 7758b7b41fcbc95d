"""Worker pool: the workers of one server; which to run is planned, then carried out.

The supervisor owns each version's listening socket, so that frontends can connect, and
wait, while a worker starts or starts again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pushserve_runtime.job_policy import nice_of
from pushserve_server.build.bundles import Bundle, BundleBroken, Bundles
from pushserve_server.data_layout import worker_folder
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Job, JobPolicy, SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.worker_sockets import socket_name
from pushserve_server.workers.backoff import Backoff
from pushserve_server.workers.processor_share import ProcessorShare
from pushserve_server.workers.worker_process import Patience, WorkerProcess

logger = logging.getLogger(__name__)

_BACKLOG: Final = 128


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
    """One version's workers; none until its bundle has said how many there are to be."""

    version: Version
    processes: list[WorkerProcess] = field(default_factory=list)
    lacks_bundle: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Workers:
    """Runs the workers that the plan asks for, and starts again what ends or hangs."""

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
        (run_dir / "workers").mkdir(mode=0o700, exist_ok=True)

    @property
    def slots(self) -> AbstractSet[int]:
        """Ids of the versions that have a slot."""
        return self._slots.keys()

    @property
    def pids(self) -> dict[int, list[int]]:
        """The processes that run for each version."""
        return {
            i: [one.pid for one in slot.processes if one.pid is not None]
            for i, slot in self._slots.items()
        }

    @property
    def without_bundle(self) -> set[int]:
        """Ids of the versions whose bundle was not there when a worker was to start."""
        return {i for i, slot in self._slots.items() if slot.lacks_bundle}

    def carry_out(self, changes: SlotChanges, versions: Mapping[int, Version]) -> None:
        """Open and close slots."""
        for version_id in changes.close:
            self._close(self._slots.pop(version_id))
        for version_id in changes.open:
            self._slots[version_id] = _Slot(versions[version_id])
        for version_id, slot in self._slots.items():
            slot.version = versions.get(version_id, slot.version)
        if changes.open:
            self.tend()

    def tend(self) -> None:
        """Look after every process once, and start those whose wait is over."""
        now = time.monotonic()
        for slot in self._slots.values():
            if not slot.processes and slot.backoff.may_start(now):
                with self._noting(slot):
                    self._open(slot, now)
            for process in slot.processes:
                with self._noting(slot):
                    process.tend(now, partial(self._start_job, slot))
        self._share.tend(
            {
                process.pid: nice_of(len(slot.processes))
                for slot in self._slots.values()
                for process in slot.processes
                if process.pid is not None and process.is_silent(now)
            }
        )

    @contextlib.contextmanager
    def _noting(self, slot: _Slot) -> Iterator[None]:
        """Note why nothing can be started: a missing bundle is built again by the deployer."""
        try:
            yield
        except (BundleBroken, Unavailable) as error:
            slot.lacks_bundle = isinstance(error, BundleBroken)
            logger.warning("no worker for %s yet: %s", _name(slot.version), error)

    def _open(self, slot: _Slot, now: float) -> None:
        """Make the sockets, all at once for who looks: the folder gets its name last."""
        slot.backoff.ended(now, now)  # for the next try, if this one fails
        count = _size(self._bundles.open(slot.version.digest))
        folder = worker_folder(self._run_dir, slot.version.id)
        new = folder.with_suffix(".new")
        for old in (folder, new):
            shutil.rmtree(old, ignore_errors=True)
        new.mkdir(mode=0o700)
        names = [socket_name(number) for number in range(count)]
        slot.processes = [
            WorkerProcess(_name(slot.version), folder / name, _listen(new / name), self._patience)
            for name in names
        ]
        new.rename(folder)

    def _start_job(self, slot: _Slot, listener: int) -> Job:
        bundle = self._bundles.open(slot.version.digest)
        slot.lacks_bundle = False
        spec = {
            **bundle.spec,
            "folder": str(bundle.folder),
            "signature": slot.version.signature.to_json(),
            "fast_path": _chosen_fast_path(slot.version),
            "answer_limit": self._settings.max_answer,
        }
        policy = JobPolicy(
            read=(bundle.folder,),
            write=(),
            memory=self._settings.sandbox_memory,
            nice=nice_of(len(slot.processes)),
        )
        return self._zygote.start("worker", spec, policy, fds=(listener,))

    def _close(self, slot: _Slot) -> None:
        for process in slot.processes:
            process.close()
        shutil.rmtree(worker_folder(self._run_dir, slot.version.id), ignore_errors=True)
        logger.info("stopped the worker of %s", _name(slot.version))

    def close(self) -> None:
        """Stop every worker."""
        for slot in self._slots.values():
            self._close(slot)
        self._slots.clear()


def _chosen_fast_path(version: Version) -> str | None:
    """Give what the build has chosen; those before 0.2 said "walk"."""
    report = version.report
    old: str | None = report.get("walk")
    return report.get("fast_path", old and old.removeprefix("walked "))


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _size(bundle: Bundle) -> int:
    """How many processes run the model."""
    return max(1, int(bundle.spec.get("workers", 1)))


def _name(version: Version) -> str:
    return f"{version.model} v{version.number}"
