"""Lease: a deployment that this process holds, its row, and the ways to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TypeVar

from pushserve_server.build.build_job import Interrupted
from pushserve_server.deploy.build_slots import BuildSlots
from pushserve_server.deploy.builder import Builder
from pushserve_server.deploy.decide import pause_before
from pushserve_server.domain.records import Deployment, Failure
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed, Unavailable
from pushserve_server.registry import LeaseToken, Registry
from pushserve_server.settings import Settings
from pushserve_server.wakeups import Wakeups

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TRIED_AGAIN: Final = (
    "It is tried again by itself, after pauses that grow to 15 minutes; register it again with "
    "--retry to try at once."
)


@dataclass(frozen=True, slots=True)
class DeployContext:
    """What every run of one deployer works with.

    `owner` is the deployer's name in leases. Who builds holds one of `build_slots`.
    """

    settings: Settings
    registry: Registry
    builder: Builder
    wakeups: Wakeups
    owner: str
    build_slots: BuildSlots


class RemoteSilent(DeploymentFailed):
    """The remote did not answer for so long that the deployment ends; nothing is wrong with it."""


class Lease:
    """One leased deployment. Another thread may cancel or wake the one that works on it.

    Every method that writes raises LeaseLost or Superseded where the row is no longer ours.
    """

    def __init__(self, context: DeployContext, token: LeaseToken, deployment: Deployment) -> None:
        self.context = context
        self.token = token
        self.row = deployment
        self.cancelled = threading.Event()
        self.rolls_out = deployment.state is DeploymentState.ACTIVATING
        """Whether its version is on disk, and nothing but the frontends is waited for."""
        self._woken = threading.Event()

    @property
    def has_moved(self) -> bool:
        """Whether the ref has moved, so that only the frontends are to be waited for."""
        return self.row.state is DeploymentState.ACTIVATING

    def cancel(self) -> None:
        """Stop the work: git and the sandbox child are killed, the row stays as it is."""
        self.cancelled.set()
        self._woken.set()

    def wake(self) -> None:
        """Look at the registry again, at once."""
        self._woken.set()

    def pause(self, seconds: float) -> None:
        """Wait until woken, at most so long.

        Raises:
            Interrupted: it was cancelled.
        """
        self._woken.wait(seconds)
        self._woken.clear()
        if self.cancelled.is_set():
            raise Interrupted

    def advance(
        self,
        state: DeploymentState,
        message: str,
        *,
        commit: str | None = None,
        model: str | None = None,
    ) -> None:
        """Write how far it has come."""
        self.row = self.context.registry.advance(
            self.token, state, message, commit=commit, model=model
        )

    def activate(self) -> None:
        """Move the ref to the version."""
        self.row = self.context.registry.activate(self.token)

    def retire(self) -> None:
        """No longer serve the ref."""
        self.row = self.context.registry.retire(self.token)

    def build_slot(self) -> AbstractContextManager[None]:
        """Hold one of the slots of those who build; says so where it has to wait for one.

        Entering raises Interrupted where it was cancelled meanwhile.
        """
        slots = self.context.build_slots
        return slots.hold(self.cancelled, lambda: self.note("waiting for other builds to end"))

    def note(self, message: str) -> None:
        """Write down progress, without a new state."""
        self.context.registry.note(self.token, message)

    def fail(self, error: DeploymentFailed) -> None:
        """End it; the step that failed is the state that it is in."""
        registry = self.context.registry
        step = registry.get_deployment(self.row.name).state
        failure = Failure(error.reason, step, error.message, error.fix)
        silent = isinstance(error, RemoteSilent)
        pause = self.context.settings.reconcile_interval if silent else None
        registry.fail(self.token, failure, retry_pause=pause)

    def persist(self, ask: Callable[[], T]) -> T:
        """Ask the remote until it answers, with growing pauses, for `fetch_timeout` seconds.

        Raises:
            RemoteSilent: REMOTE_UNREACHABLE (or another reason of Unavailable).
            Interrupted: it was cancelled.
        """
        deadline = time.monotonic() + self.context.settings.fetch_timeout
        attempt = 0
        while True:
            try:
                return ask()
            except Unavailable as error:
                attempt += 1
                pause = pause_before(attempt)
                if time.monotonic() + pause > deadline:
                    raise RemoteSilent(error.code_reason, error.message, _TRIED_AGAIN) from None
                message = f"{error.message}; trying again in {pause:g} s"
                self.advance(DeploymentState.FETCHING, message)
            if self.cancelled.wait(pause):
                raise Interrupted

    def outlast(self, work: Callable[[], T]) -> T:
        """Do what needs the sandbox; where that is away, again when it is back.

        So that a zygote that is just being started again costs a deployment none of its attempts.

        Raises:
            Unavailable: it was away for `build_timeout` seconds.
            Interrupted: it was cancelled.
        """
        deadline = time.monotonic() + self.context.settings.build_timeout
        attempt = 0
        while True:
            try:
                return work()
            except Unavailable as error:
                attempt += 1
                pause = pause_before(attempt)
                if time.monotonic() + pause > deadline:
                    raise
                message = f"{error.message}; trying again in {pause:g} s"
                logger.warning("%s: %s", self.row.name, message)
                self.note(message)
            if self.cancelled.wait(pause):
                raise Interrupted
