"""Bundle repair: builds bundles that are not on disk again, from the same commits."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import Final

from pushserve_server.build.build_job import Interrupted
from pushserve_server.deploy.builder import SourceLocation
from pushserve_server.deploy.lease import DeployContext
from pushserve_server.domain.records import Version
from pushserve_server.errors import DeploymentFailed, PushserveError
from pushserve_server.source.command import Cancelled

logger = logging.getLogger(__name__)

_RETRY: Final = 60.0


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
        restored = 0
        for version in self._missing():
            if cancelled.is_set():
                break
            try:
                self._build(version, cancelled)
                restored += 1
            except (Cancelled, Interrupted):
                break
            except (PushserveError, DeploymentFailed) as error:
                self._failed[version.id] = time.monotonic()
                logger.error(  # noqa: TRY400 (its text says all)
                    "the bundle of %s v%d cannot be built again: %s",
                    version.model,
                    version.number,
                    error,
                )
        return restored

    def _missing(self) -> list[Version]:
        context = self._context
        in_use = context.registry.snapshot(context.settings.idle_unload).in_use
        soon = time.monotonic() - _RETRY
        digests = context.registry.digests(in_use)
        lost = [i for i, digest in digests.items() if not self._is_there(digest)]
        self._seen &= set(digests.values())
        versions = context.registry.versions_by_id(lost).values()
        return [version for version in versions if self._failed.get(version.id, soon) <= soon]

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
        context, builder = self._context, self._context.builder
        model = context.registry.get_model(version.model)
        location = SourceLocation(model.source, model.path, version.commit)
        logger.info("building the lost bundle of %s v%d again", version.model, version.number)
        with builder.workplace() as workplace:
            files = builder.fetch(location, workplace, cancelled)
            # The version's row says which engine answers: the new bundle must be for that one.
            model_files = replace(builder.check(location, files), engine=str(version.engine))
            log_as = {"model": version.model, "version": version.number}
            result = builder.build(files, model_files, cancelled, logger.debug, log_as)
        context.registry.replace_bundle(version.id, result.digest, result.report)
        self._failed.pop(version.id, None)
        context.wakeups.wake()
