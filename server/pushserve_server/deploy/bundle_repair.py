"""Bundle repair: builds bundles that are not on disk again, from the same commits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, TypeVar

from pushserve_server.build.build_job import Interrupted
from pushserve_server.deploy.build_slots import BuildSlots
from pushserve_server.deploy.lease import DeployContext
from pushserve_server.deploy.make_bundle import rebuild
from pushserve_server.domain.records import Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed, PushserveError
from pushserve_server.source.command import Cancelled

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY: Final = 60.0
_AT_A_TIME: Final = 8
"""Bundles that are fetched for; how many are built is for the build slots to say."""


class Restorer:
    """Keeps the bundle of every version in use on this machine's disk. For one thread."""

    def __init__(self, context: DeployContext) -> None:
        self._context = context
        self._failed: dict[int, float] = {}
        # Of many bundles few are new: the others need no more than a glance.
        self._seen: set[str] = set()

    def restore(self, cancelled: threading.Event) -> int:
        """Build what is missing; give how many bundles that were.

        One that cannot be had is logged, and tried again after a minute.
        """
        with ThreadPoolExecutor(_AT_A_TIME, "restorer") as pool:
            return sum(pool.map(lambda version: self._restore(version, cancelled), self._missing()))

    def _restore(self, version: Version, cancelled: threading.Event) -> bool:
        if cancelled.is_set():
            return False
        try:
            self._build(version, cancelled)
        except (Cancelled, Interrupted):
            return False
        except (PushserveError, DeploymentFailed) as error:
            self._failed[version.id] = time.monotonic()
            logger.error(  # noqa: TRY400 (its text says all)
                "the bundle of %s v%d cannot be built again: %s",
                version.model,
                version.number,
                error,
            )
            return False
        return True

    def _missing(self) -> list[Version]:
        context = self._context
        in_use = context.registry.snapshot(context.settings.idle_unload).in_use
        soon = time.monotonic() - _RETRY
        digests = context.registry.digests(in_use)
        lost = [i for i, digest in digests.items() if not self._is_there(digest)]
        self._seen &= set(digests.values())
        versions = context.registry.versions_by_id(lost).values()
        due = [version for version in versions if self._failed.get(version.id, soon) <= soon]
        # One for each bundle: commits in which nothing changed have the same.
        return list({version.digest: version for version in due}.values())

    def _is_there(self, digest: str) -> bool:
        """Whether a bundle is there; at first also whether it is whole."""
        bundles = self._context.builder.bundles
        if digest in self._seen and bundles.exists(digest):
            return True
        if not bundles.has(digest):
            return False
        self._seen.add(digest)
        return True

    def _build(self, version: Version, cancelled: threading.Event) -> None:
        context = self._context
        logger.info("building the lost bundle of %s v%d again", version.model, version.number)
        log_as = {"version": version.number}
        steps = _RepairSteps(context.build_slots, cancelled)
        rebuild(steps, context.builder, context.registry, version, log_as)
        self._failed.pop(version.id, None)
        context.wakeups.wake()


class _RepairSteps:
    """The steps of a repair: no deployment tells of them, and what fails is tried later."""

    def __init__(self, slots: BuildSlots, cancelled: threading.Event) -> None:
        self._slots = slots
        self.cancelled = cancelled

    def persist(self, ask: Callable[[], T]) -> T:
        return ask()

    def outlast(self, work: Callable[[], T]) -> T:
        return work()

    def build_slot(self) -> AbstractContextManager[None]:
        return self._slots.hold(self.cancelled)

    def advance(self, state: DeploymentState, message: str, **_: str | None) -> None:
        logger.debug("%s: %s", state, message)

    def note(self, message: str) -> None:
        logger.debug("%s", message)
