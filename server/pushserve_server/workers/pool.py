"""Worker pool: the workers of one server; which to run is planned, then carried out.

The supervisor owns each version's listening socket, so that frontends can connect, and
wait, while a worker starts or starts again.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pushserve_server.build.bundles import Bundle, BundleBroken, Bundles
from pushserve_server.data_layout import worker_socket
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Job, JobPolicy, SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.workers.backoff import Backoff

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
    """One version's listening socket and the processes that accept on it."""

    version: Version
    listener: socket.socket
    jobs: list[Job] = field(default_factory=list)
    size: int = 1
    started_at: float = 0.0
    lacks_bundle: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Workers:
    """Runs the workers that the plan asks for, and starts again what ends."""

    def __init__(
        self, settings: Settings, run_dir: Path, zygote: SandboxClient, bundles: Bundles
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._zygote = zygote
        self._bundles = bundles
        self._slots: dict[int, _Slot] = {}
        (run_dir / "workers").mkdir(mode=0o700, exist_ok=True)

    @property
    def slots(self) -> AbstractSet[int]:
        """Ids of the versions that have a slot."""
        return self._slots.keys()

    @property
    def pids(self) -> dict[int, list[int]]:
        """The processes that run for each version."""
        return {i: [job.pid for job in slot.jobs] for i, slot in self._slots.items()}

    @property
    def without_bundle(self) -> set[int]:
        """Ids of the versions whose bundle was not there when a worker was to start."""
        return {i for i, slot in self._slots.items() if slot.lacks_bundle}

    def carry_out(self, changes: SlotChanges, versions: Mapping[int, Version]) -> None:
        """Open and close slots."""
        for version_id in changes.close:
            self._close(self._slots.pop(version_id))
        for version_id in changes.open:
            version = versions[version_id]
            listener = _listen(worker_socket(self._run_dir, version_id))
            self._slots[version_id] = _Slot(version, listener)
        for version_id, slot in self._slots.items():
            slot.version = versions.get(version_id, slot.version)
        if changes.open:
            self.tend()

    def tend(self) -> None:
        """Note which workers have ended, and start those whose wait is over."""
        now = time.monotonic()
        for slot in self._slots.values():
            for job in list(slot.jobs):
                end = _how_it_ended(job)
                if end:
                    slot.jobs.remove(job)
                    job.close()
                    slot.backoff.ended(slot.started_at, now)
                    name, number = slot.version.model, slot.version.number
                    logger.warning("a worker of %s v%d ended: %s", name, number, end)
            if len(slot.jobs) < slot.size and slot.backoff.may_start(now):
                self._start(slot, now)

    def _start(self, slot: _Slot, now: float) -> None:
        slot.started_at = now
        try:
            bundle = self._bundles.open(slot.version.digest)
            slot.size = max(1, int(bundle.spec.get("workers", 1)))
            while len(slot.jobs) < slot.size:
                slot.jobs.append(self._start_job(slot, bundle))
            slot.lacks_bundle = False
        except (BundleBroken, Unavailable) as error:
            # A missing bundle is built again by the deployer, a missing zygote started again.
            slot.lacks_bundle = isinstance(error, BundleBroken)
            slot.backoff.ended(now, now)
            logger.warning(
                "the worker of %s v%d cannot be started yet: %s",
                slot.version.model,
                slot.version.number,
                error,
            )

    def _start_job(self, slot: _Slot, bundle: Bundle) -> Job:
        spec = {
            **bundle.spec,
            "folder": str(bundle.folder),
            "signature": slot.version.signature.to_json(),
            "fast_path": _chosen_fast_path(slot.version),
        }
        policy = JobPolicy(read=(bundle.folder,), write=(), memory=self._settings.sandbox_memory)
        return self._zygote.start("worker", spec, policy, fds=(slot.listener.fileno(),))

    def _close(self, slot: _Slot) -> None:
        for job in slot.jobs:
            job.close()
        slot.listener.close()
        worker_socket(self._run_dir, slot.version.id).unlink(missing_ok=True)
        logger.info("stopped the worker of %s v%d", slot.version.model, slot.version.number)

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
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _how_it_ended(job: Job) -> str:
    """Say how a worker ended; "" while it runs."""
    try:
        end = job.wait(0)
    except Unavailable as error:
        return str(error)
    if end is None:
        return ""
    how = f"signal {end.signal}" if end.signal else f"code {end.code}"
    return f"{how} after {end.cpu_seconds:.1f} s of CPU, {end.max_rss >> 20} MiB at most"
