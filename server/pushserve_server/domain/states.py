"""Deployment states: how far a deployment has come, and which state may follow which."""

from __future__ import annotations

import enum
from typing import Final


class DeploymentState(enum.StrEnum):
    """How far a deployment has come; each member says when it becomes true."""

    QUEUED = "QUEUED"
    """Its row is on disk."""
    FETCHING = "FETCHING"
    """A deployer holds its lease and is about to ask the remote."""
    CHECKING = "CHECKING"
    """The commit's tree is here."""
    BUILDING = "BUILDING"
    """The repository contract holds; the sandbox is about to load the model."""
    LOADING = "LOADING"
    """The version passed its gate and is on disk."""
    ACTIVATING = "ACTIVATING"
    """The ref has moved to the version, or is dropped, in the same transaction."""
    READY = "READY"
    """Every live frontend answers with the version."""
    FAILED = "FAILED"
    """It ended at a step; the ref is where it was, or was deleted by a person."""
    SUPERSEDED = "SUPERSEDED"
    """A newer deployment of the same ref took its place before every frontend answered with it."""

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return not TRANSITIONS[self]


_S = DeploymentState

TRANSITIONS: Final[dict[DeploymentState, frozenset[DeploymentState]]] = {
    # From FETCHING, the ref is gone from the remote: ACTIVATING drops it; READY keeps a pinned one.
    # A lease that ran out puts a row back to QUEUED from wherever it was; only not from
    # ACTIVATING, where the ref has moved: there it fails only if the ref itself is deleted.
    _S.QUEUED: frozenset({_S.FETCHING, _S.FAILED, _S.SUPERSEDED}),
    _S.FETCHING: frozenset(
        {_S.QUEUED, _S.CHECKING, _S.LOADING, _S.ACTIVATING, _S.READY, _S.FAILED, _S.SUPERSEDED}
    ),
    _S.CHECKING: frozenset({_S.QUEUED, _S.BUILDING, _S.FAILED, _S.SUPERSEDED}),
    _S.BUILDING: frozenset({_S.QUEUED, _S.LOADING, _S.FAILED, _S.SUPERSEDED}),
    _S.LOADING: frozenset({_S.QUEUED, _S.ACTIVATING, _S.FAILED, _S.SUPERSEDED}),
    _S.ACTIVATING: frozenset({_S.READY, _S.FAILED, _S.SUPERSEDED}),
    _S.READY: frozenset(),
    _S.FAILED: frozenset(),
    _S.SUPERSEDED: frozenset(),
}
