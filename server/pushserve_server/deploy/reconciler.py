"""Reconciler: finds by looking at the remotes what no push event has told.

It looks at refs that were registered, and at those that the operator's list of sources asks for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pushserve_server.deploy.decide import RefAt, registrations, steps_to
from pushserve_server.deploy.register import register_in_turn
from pushserve_server.domain.pauses import LONGEST_RETRY, growing_pause
from pushserve_server.domain.records import Deployment, Tracked
from pushserve_server.errors import DeploymentFailed, PushserveError
from pushserve_server.registry import Registry
from pushserve_server.settings import Settings, SourceRule
from pushserve_server.source.command import Cancelled
from pushserve_server.source.filters import deploys_path, deploys_ref, finds_ref
from pushserve_server.source.remote import RemoteRefs, list_refs
from pushserve_server.source.rules import find_rule

logger = logging.getLogger(__name__)

_ASK_TIMEOUT: Final = 30.0
_AT_A_TIME: Final = 16
"""Sources; each takes a thread and git, which mostly wait."""
_STOP_PATIENCE: Final = 10.0


class SilentSources:
    """Sources that could not be looked at, and when each is due again; times are in seconds."""

    def __init__(self, first_pause: float) -> None:
        self._first = first_pause
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def is_due(self, source: str, now: float) -> bool:
        """Say whether the source may be looked at."""
        return now >= self._due.get(source, now)

    def failed(self, source: str, now: float) -> float:
        """Note that it could not be looked at; give how long it is left alone."""
        failures = self._failures[source] = self._failures.get(source, 0) + 1
        pause = growing_pause(failures, self._first, max(self._first, LONGEST_RETRY))
        self._due[source] = now + pause
        return pause

    def answered(self, source: str) -> None:
        """Forget what was."""
        self._failures.pop(source, None)
        self._due.pop(source, None)


class Reconciler:
    """Looks at every source's refs at start and then every `settings.reconcile_interval`.

    One that does not answer is left out for longer and longer, so that others are looked at in
    time however many there are of these.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._silent = SilentSources(settings.reconcile_interval)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking, and return when the thread has ended."""
        self._stopped.set()
        self._thread.join(_STOP_PATIENCE)

    def reconcile(self) -> int:
        """Look at every source that is due once; give how many deployments that made."""
        sources: dict[str, list[Tracked]] = defaultdict(list)
        for tracked in self._registry.tracked():
            if self._silent.is_due(tracked.source, time.monotonic()):
                sources[tracked.source].append(tracked)
        with ThreadPoolExecutor(_AT_A_TIME, "reconciler") as pool:
            return sum(pool.map(self._look_at, sources, sources.values()))

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                self.reconcile()
            except Exception:
                logger.exception("reconciling failed; it is tried again later")
            self._stopped.wait(self._settings.reconcile_interval)

    def _look_at(self, source: str, folders: list[Tracked]) -> int:
        """Look at one source; its trouble is nobody else's."""
        if self._stopped.is_set():
            return 0
        try:
            rule = find_rule(source, self._settings.sources)
            remote = list_refs(source, timeout=_ASK_TIMEOUT, cancelled=self._stopped)
            self._silent.answered(source)
            self._registry.note_default_branch(source, remote.head or "")
            return sum(self._register(folder, remote, rule) for folder in folders)
        except Cancelled:
            return 0
        except (PushserveError, DeploymentFailed) as error:
            pause = self._silent.failed(source, time.monotonic())
            text = "%s was not reconciled: %s; it is looked at again in %g s"
            logger.warning(text, source, error, pause)
            return 0
        except Exception:
            logger.exception("%s was not reconciled", source)
            return 0

    def _register(self, folder: Tracked, remote: RemoteRefs, rule: SourceRule) -> int:
        def make(step: RefAt) -> tuple[Deployment, bool]:
            return self._registry.register(
                source=folder.source,
                path=folder.path,
                ref=step.ref,
                commit=step.commit,
                model="",
                retry=False,
                default_branch=remote.head or "",
                automatic=True,
            )

        return sum(
            created
            for action in _due(folder, remote, rule)
            for _, created in register_in_turn(
                steps_to(action, folder.default_ref, remote.head, remote.refs), make
            )
        )


def _due(folder: Tracked, remote: RemoteRefs, rule: SourceRule) -> list[RefAt]:
    """Give what differs from the remote, and what the operator's globs ask for and is new."""
    moved = registrations(folder.refs, remote.refs)
    if not deploys_path(rule, folder.path):
        return [action for action in moved if not action.commit]
    known = folder.refs.keys() | folder.deleted
    new = [ref for ref in sorted(remote.refs.keys() - known) if finds_ref(rule, ref)]
    return [
        *(action for action in moved if not action.commit or deploys_ref(rule, action.ref)),
        *(RefAt(ref, remote.refs[ref]) for ref in new),
    ]
