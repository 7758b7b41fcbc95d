"""Deployment history: changing a row and writing down that it changed; in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import TRANSITIONS, DeploymentState
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.tables import EPOCH, DeploymentRow

OPEN: Final = tuple(state for state in DeploymentState if not state.is_final)
"""States that something follows."""
NOT_MOVED: Final = tuple(state for state in OPEN if state is not DeploymentState.ACTIVATING)
"""States before the ref has moved."""
BEFORE_LOADING: Final = tuple(state for state in NOT_MOVED if state is not DeploymentState.LOADING)
"""States in which a deployer has to do with the remote and the sandbox."""


def change(
    store: RegistryDatabase,
    row: DeploymentRow,
    state: DeploymentState,
    message: str,
    **fields: Any,
) -> None:
    """Set the state (or keep it), the message and other columns of `row`; add the event.

    Raises:
        ValueError: the state does not follow the one that the row has.
    """
    before = DeploymentState(row.state)
    if state is not before and state not in TRANSITIONS[before]:
        raise ValueError(f"{row.name}: {state} does not follow {before}")
    if state.is_final:
        fields["lease_until"] = EPOCH
    held, now = row.version_id, store.shown_now()
    fields |= {"state": state.value, "message": message, "updated_at": now}
    for name, value in fields.items():
        setattr(row, name, value)
    deployments = store.tables.deployments
    deployments.update(fields).where(deployments.id == row.id).execute()
    store.tables.events.insert(
        deployment_id=row.id, state=state.value, message=message, at=now
    ).execute()
    if held != row.version_id or (held and state.is_final):
        # What is to be loaded has changed.
        store.bump()
    elif state is not before:
        store.tell()


def change_to_failed(
    store: RegistryDatabase, row: DeploymentRow, failure: Failure, **fields: Any
) -> None:
    """End the deployment with its failure; set other columns."""
    change(
        store,
        row,
        DeploymentState.FAILED,
        failure.message,
        failure_reason=failure.reason,
        failure_step=failure.step.value,
        failure_message=failure.message,
        failure_fix=failure.fix,
        **fields,
    )


def supersede_older(
    store: RegistryDatabase,
    newer: DeploymentRow,
    states: Sequence[DeploymentState] = NOT_MOVED,
) -> None:
    """End the deployments of the same ref that `newer` takes the place of.

    When it moves the ref itself, those that moved it before (`OPEN`) are among them.
    """
    deployments = store.tables.deployments
    older = deployments.select().where(
        deployments.source == newer.source,
        deployments.path == newer.path,
        deployments.ref == newer.ref,
        deployments.id < newer.id,
        deployments.state.in_(states),
    )
    for row in store.locked(older):
        supersede(store, row, newer.name)


def supersede(store: RegistryDatabase, row: DeploymentRow, newer: str) -> None:
    """End one deployment in favour of the one called `newer`."""
    change(
        store,
        row,
        DeploymentState.SUPERSEDED,
        f"superseded by {newer}, which is newer",
        superseded_by=newer,
    )
