"""Rollout: from a version on disk to READY; wait until it is loaded, move the ref, wait again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pushserve_server.deploy.decide import FRONTEND_TTL, Loaded, LoadFailed, after_loads, behind
from pushserve_server.deploy.lease import Lease
from pushserve_server.domain.records import Version
from pushserve_server.domain.ref_names import short_name
from pushserve_server.errors import DeploymentFailed

_POLL: Final = 0.1
_AGAIN: Final = (
    "Register it again with retry; if it fails again, the server's operator finds more in its log."
)


def go_live(lease: Lease, version: Version) -> None:
    """Wait until the version is loaded everywhere, move the ref, and finish.

    Raises:
        DeploymentFailed: LOAD_FAILED or LOAD_TIMEOUT, and the ref is where it was.
    """
    _wait(lease, lambda: _not_loaded(lease, version), "LOAD_TIMEOUT", "it was not loaded")
    context = lease.context
    _, generation = context.registry.activate(lease.token)
    context.wakeups.wake()
    confirm(lease, generation)


def confirm(lease: Lease, generation: int) -> None:
    """Wait until every live frontend answers by `generation`, then say READY.

    Raises:
        DeploymentFailed: SWAP_TIMEOUT.
    """

    def look() -> str:
        live = lease.context.registry.live_frontends(FRONTEND_TTL)
        return ", ".join(behind(live, generation))

    _wait(lease, look, "SWAP_TIMEOUT", "the ref has moved, but not all traffic")
    registry, row = lease.context.registry, lease.row
    gone = not registry.get_deployment(row.name).commit
    message = f"{short_name(row.ref)} is no longer served" if gone else "all traffic goes to it"
    registry.finish(lease.token, message)


def _not_loaded(lease: Lease, version: Version) -> str:
    """Name the live frontends that have not loaded the version yet."""
    registry = lease.context.registry
    live = [name for name, _ in registry.live_frontends(FRONTEND_TTL)]
    outcome = after_loads(live, registry.loads(version.id, FRONTEND_TTL))
    if isinstance(outcome, LoadFailed):
        raise DeploymentFailed(
            "LOAD_FAILED",
            f"the model passed its checks and could not be loaded: {outcome.error}",
            _AGAIN,
        )
    return "" if isinstance(outcome, Loaded) else ", ".join(outcome.missing)


def _wait(lease: Lease, look: Callable[[], str], reason: str, what: str) -> None:
    """Wait until `look` names nobody to wait for any more, at most `load_timeout` seconds."""
    timeout = lease.context.settings.load_timeout
    deadline = time.monotonic() + timeout
    while missing := look():
        if time.monotonic() > deadline:
            text = f"{what} within {timeout:g} s; waiting for {missing}"
            raise DeploymentFailed(reason, text, _AGAIN)
        lease.pause(_POLL)
