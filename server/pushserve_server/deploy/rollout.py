"""Rollout: from a version on disk to READY; wait until it is loaded, move the ref, wait again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pushserve_server.deploy.decide import FRONTEND_TTL, Loaded, LoadFailed, after_loads, behind
from pushserve_server.deploy.lease import Lease
from pushserve_server.domain.door_trial import ANSWERS_DIFFER
from pushserve_server.domain.records import Version
from pushserve_server.errors import DeploymentFailed, Unavailable

_POLL: Final = 0.1
_LOOK_AGAIN: Final = 1.0
"""How long a deployer that takes a moved ref up again waits for the frontends, in seconds."""
_RETRY: Final = (
    "Register it again with --retry; if it fails again, the server's operator finds more in its "
    "log."
)
_LOAD: Final = (
    "Correct what it raised, and push again: a model is served from a folder that holds the "
    "repository's files and nothing that the build wrote. If nothing in it is wrong, say where the "
    "machine had no memory left, register it again with --retry."
)
_DIFFERS: Final = (
    "The model that is loaded to be served answers otherwise than the one that was built: have its "
    "code depend on nothing but the row (not on what it was asked before, the time, its process or "
    "a draw without a seed), or say repeatable = false in pushserve.toml."
)


def go_live(lease: Lease, version: Version) -> None:
    """Wait until the version is loaded everywhere, move the ref, and finish.

    Raises:
        DeploymentFailed: LOAD_FAILED, ANSWERS_DIFFER or LOAD_TIMEOUT, and the ref is where it was.
        Unavailable: as `confirm`.
    """
    lease.rolls_out = True
    timeout = lease.context.settings.load_timeout
    missing = _wait(lease, lambda: _not_loaded(lease, version), timeout)
    if missing:
        message = f"it was not loaded within {timeout:g} s; waiting for {missing}"
        raise DeploymentFailed("LOAD_TIMEOUT", message, _RETRY)
    lease.activate()
    confirm(lease, timeout)


def confirm(lease: Lease, patience: float = _LOOK_AGAIN) -> None:
    """Wait until every live frontend serves by the ref that has moved, then say READY.

    Raises:
        Unavailable: some do not within `patience` seconds. The ref has moved, so nothing else
            can be told yet: the deployment stays ACTIVATING, and is to be taken up again.
    """
    lease.rolls_out = True
    registry = lease.context.registry
    # Rows of before 0.2 do not have it.
    generation = lease.row.moved_generation or registry.generation()

    def late() -> str:
        return ", ".join(behind(registry.live_frontends(FRONTEND_TTL), generation))

    missing = _wait(lease, late, patience)
    if missing:
        message = f"the ref has moved, but not all traffic; waiting for {missing}"
        if registry.get_deployment(lease.row.name).message != message:
            lease.note(message)
        raise Unavailable(message)
    registry.finish(lease.token)


def _not_loaded(lease: Lease, version: Version) -> str:
    """Name the live frontends that have not loaded the version yet."""
    registry = lease.context.registry
    live = [name for name, _ in registry.live_frontends(FRONTEND_TTL)]
    outcome = after_loads(live, registry.loads(version.id, FRONTEND_TTL))
    if isinstance(outcome, LoadFailed):
        reason, _, text = outcome.error.partition(": ")
        if reason == ANSWERS_DIFFER:
            raise DeploymentFailed(reason, text, _DIFFERS)
        raise DeploymentFailed(
            "LOAD_FAILED",
            f"the model passed its checks and could not be loaded: {outcome.error}",
            _LOAD,
        )
    return "" if isinstance(outcome, Loaded) else ", ".join(outcome.missing)


def _wait(lease: Lease, look: Callable[[], str], timeout: float) -> str:
    """Wait until `look` names nobody to wait for any more; give whom it names at the end."""
    deadline = time.monotonic() + timeout
    while (missing := look()) and time.monotonic() < deadline:
        lease.pause(_POLL)
    return missing
