"""Deployment pipeline: takes one deployment as far as it goes, and writes down how it ended."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from pushserve_server.build.build_job import Interrupted
from pushserve_server.deploy.lease import Lease
from pushserve_server.deploy.make_version import make_version, resolve
from pushserve_server.deploy.rollout import confirm, go_live
from pushserve_server.domain.ref_names import short_name
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed, PushserveError, Unavailable
from pushserve_server.registry import LeaseLost, Superseded
from pushserve_server.source.command import Cancelled

logger = logging.getLogger(__name__)

_MOST_ATTEMPTS: Final = 10
_TAKE_AGAIN: Final = 3.0
_FIXES: Final = {
    "MODEL_NAME_TAKEN": (
        'Write a name that is free in pushserve.toml (name = "…") and push, or register it again '
        "with --model."
    ),
    "MODEL_RENAMED": "Register it by the name that it is served as, or delete that model first.",
    "REF_NOT_DEPLOYED": (
        "Push to a branch or tag that these globs name, or have the operator change refs and "
        "register it again with --retry."
    ),
    "PATH_NOT_DEPLOYED": (
        "Move the model to a folder that these globs name, or have the operator change paths and "
        "register it again with --retry."
    ),
    "SOURCE_NOT_ALLOWED": "When the source is listed, register it again with --retry.",
}
"""What to do about a refusal that a call would get as well, where its text does not say all."""


def run(lease: Lease) -> None:
    """Work until the deployment has ended or is another's; never raises.

    What cannot be helped by its author (the registry or the zygote is gone) leaves the row
    as it is, to be taken again.
    """
    name = lease.row.name
    try:
        _work(lease)
    except (LeaseLost, Superseded, Cancelled, Interrupted) as end:
        logger.info("%s: work on it ended (%s)", name, type(end).__name__)
    except Unavailable as error:
        logger.warning("%s: will be started again: %s", name, error.message)
        _give_back(lease)
    except Exception:
        logger.exception("%s: will be started again", name)
    finally:
        lease.context.wakeups.wake()


def _give_back(lease: Lease) -> None:
    """Have it taken again soon, instead of when the whole lease has run out."""
    context = lease.context
    with suppress(Unavailable):
        context.registry.renew(lease.token, _TAKE_AGAIN)


def _work(lease: Lease) -> None:
    if lease.has_moved:
        # Its deployer ended, or had no more patience, after the ref had moved.
        confirm(lease)
        return
    try:
        _check_attempts(lease)
        _take_live(lease)
    except (LeaseLost, Superseded, Cancelled, Interrupted, Unavailable):
        raise
    except DeploymentFailed as error:
        lease.fail(error)
    except PushserveError as error:
        fix = _FIXES.get(error.code_reason, "Correct this and register it again with --retry.")
        lease.fail(DeploymentFailed(error.code_reason, error.message, fix))
    except Exception:
        if lease.has_moved:
            raise
        logger.exception("%s failed", lease.row.name)
        lease.fail(_internal())


def _take_live(lease: Lease) -> None:
    name = short_name(lease.row.ref) or "the commit"
    lease.advance(DeploymentState.FETCHING, f"asking the repository for {name}")
    commit = resolve(lease)
    if commit is None:
        lease.retire()
        if lease.has_moved:
            confirm(lease, lease.context.settings.load_timeout)
    else:
        go_live(lease, make_version(lease, commit))


def _check_attempts(lease: Lease) -> None:
    if lease.row.attempt > _MOST_ATTEMPTS:
        raise DeploymentFailed(
            "GAVE_UP",
            f"it was begun {_MOST_ATTEMPTS} times, and the server stopped each time",
            "The server's operator finds more in its log; then register it again with --retry.",
        )


def _internal() -> DeploymentFailed:
    return DeploymentFailed(
        "INTERNAL",
        "the server failed while it worked on this",
        "Register it again with --retry; the server's operator finds more in its log.",
    )
