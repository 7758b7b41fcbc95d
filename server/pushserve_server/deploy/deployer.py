"""Deployer: takes deployments by lease and works on several of them at a time."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pushserve_server.deploy.build_slots import BuildSlots
from pushserve_server.deploy.builder import Builder
from pushserve_server.deploy.bundle_repair import Restorer
from pushserve_server.deploy.lease import DeployContext, Lease
from pushserve_server.deploy.pipeline import run
from pushserve_server.registry import LeaseToken, Registry
from pushserve_server.sandbox_client import SandboxClient
from pushserve_server.settings import Settings
from pushserve_server.wakeups import SELDOM, Wakeups, wait

logger = logging.getLogger(__name__)

_POLL: Final = 0.25
_AFTER_TROUBLE: Final = 1.0
_STOP_PATIENCE: Final = 10.0
_LOOK_FOR_LOST_BUNDLES: Final = 30.0
_REMOTES_PER_BUILD: Final = 8
"""Deployments under way for each that may build; one waits on its disk for a slot to build."""
_MOST_THREADS: Final = 256


@dataclass(slots=True)
class _Active:
    lease: Lease
    thread: threading.Thread
    renewed: float


class Deployer:
    """Works on several deployments at a time, each on a thread of its own.

    `settings.deploy_concurrency` of them build. Many more may wait for their remotes, which costs
    next to nothing, but only half as many where those have failed lately: so slow repositories
    do not make others wait. Those that wait for frontends count for neither.

    `owner` is its name in leases: no other process, and no earlier one, has the same. `beat` is
    called at every turn of its loop.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        zygote: SandboxClient,
        wakeups: Wakeups,
        owner: str,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        builder = Builder(settings, zygote)
        slots = BuildSlots(settings.deploy_concurrency)
        self._context = DeployContext(settings, registry, builder, wakeups, owner, slots)
        self._beat = beat
        self._active: list[_Active] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="deployer", daemon=True)
        self._restorer = Restorer(self._context)
        self._restoring: threading.Thread | None = None
        self._restored: tuple[tuple[int, int], float] = ((-1, 0), 0.0)

    def start(self) -> None:
        """Begin; returns at once."""
        self._context.builder.sweep()
        self._thread.start()

    def stop(self) -> None:
        """Stop working, give the leases back, and return when every thread has ended."""
        self._stopped.set()
        self._context.wakeups.wake()
        self._thread.join(_STOP_PATIENCE)
        for active in self._active:
            active.lease.cancel()
        for active in self._active:
            active.thread.join(_STOP_PATIENCE)
            self._give_back(active.lease)
        if self._restoring is not None:
            self._restoring.join(_STOP_PATIENCE)

    def _loop(self) -> None:
        with self._context.wakeups.listening(f"deployer-{secrets.token_hex(4)}") as listener:
            while not self._stopped.is_set():
                self._beat()
                try:
                    self._turn()
                except Exception:
                    logger.exception("the deployer's loop failed once; it continues")
                    self._stopped.wait(_AFTER_TROUBLE)
                if wait(listener, self._pause()):
                    for active in self._active:
                        active.lease.wake()

    def _pause(self) -> float:
        """Give how long to wait for a change: long where each is told, for leases not too long."""
        context = self._context
        if not context.wakeups.all_heard():
            return _POLL
        return max(min(SELDOM, context.settings.lease / 6), _POLL)

    def _turn(self) -> None:
        """Look after the deployments at work, and take new ones."""
        self._active = [active for active in self._active if active.thread.is_alive()]
        held = self._context.registry.held([active.lease.token for active in self._active])
        for active in self._active:
            self._look_after(active, held)
        while self._take():
            pass
        self._look_for_lost_bundles()

    def _take(self) -> bool:
        """Take one more, if there is one and a slot for it."""
        context = self._context
        working = [active.lease for active in self._active if not active.lease.rolls_out]
        most = _REMOTES_PER_BUILD * context.settings.deploy_concurrency
        if len(working) >= most or len(self._active) >= _MOST_THREADS:
            return False
        failing = sum(1 for lease in working if lease.row.failures)
        taken = context.registry.lease(
            context.owner, context.settings.lease, failed_before=failing < most // 2
        )
        if taken is None:
            return False
        token, deployment = taken
        lease = Lease(context, token, deployment)
        thread = threading.Thread(target=run, args=(lease,), name=deployment.name, daemon=True)
        self._active.append(_Active(lease, thread, time.monotonic()))
        thread.start()
        return True

    def _look_after(self, active: _Active, held: set[LeaseToken]) -> None:
        """Renew the lease in time; stop work on a row that is no longer ours or open."""
        context = self._context
        if active.lease.token not in held:
            active.lease.cancel()
        elif time.monotonic() - active.renewed > context.settings.lease / 3:
            active.renewed = time.monotonic()
            if not context.registry.renew(active.lease.token, context.settings.lease):
                active.lease.cancel()

    def _give_back(self, lease: Lease) -> None:
        """Let the lease end now, so that nobody has to wait for it."""
        context = self._context
        try:
            context.registry.renew(lease.token, 0)
        except Exception:
            logger.exception(
                "the lease of %s could not be given back; it will expire", lease.row.name
            )

    def _look_for_lost_bundles(self) -> None:
        """At start, when what is in use has changed, and once in a while."""
        if self._restoring is not None and self._restoring.is_alive():
            return
        context, at = self._context, time.monotonic()
        seen = context.registry.generation(), context.builder.bundles.changed_at()
        if seen == self._restored[0] and at - self._restored[1] < _LOOK_FOR_LOST_BUNDLES:
            return
        self._restored = (seen, at)
        self._restoring = threading.Thread(target=self._restore, name="restorer", daemon=True)
        self._restoring.start()

    def _restore(self) -> None:
        try:
            self._restorer.restore(self._stopped)
        except Exception:
            logger.exception("looking for lost bundles failed; it is tried again later")
