"""Row records: from rows to records, and how a default ref is chosen."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable

from pushserve_runtime.signature import Signature
from pushserve_server.domain.records import Deployment, EngineName, Event, Failure, Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.tables import DeploymentRow, EventRow, VersionRow


def version_from_row(row: VersionRow, model: str) -> Version:
    """Give the version of the model of that name."""
    return Version(
        id=row.id,
        model=model,
        number=row.number,
        commit=row.commit,
        engine=EngineName(row.engine),
        digest=row.digest,
        signature=Signature.from_json(json.loads(row.signature)),
        report=json.loads(row.report),
        created_at=row.created_at,
    )


def event_from_row(row: EventRow) -> Event:
    """Give the event."""
    return Event(DeploymentState(row.state), row.message, row.at)


def deployment_from_row(row: DeploymentRow, events: Iterable[EventRow] = ()) -> Deployment:
    """Give the deployment, with `events` oldest first."""
    return Deployment(
        id=row.id,
        name=row.name,
        source=row.source,
        path=row.path,
        ref=row.ref,
        commit=row.commit,
        model=row.model,
        version=row.version or None,
        state=DeploymentState(row.state),
        message=row.message,
        failure=_failure_from_row(row),
        superseded_by=row.superseded_by or None,
        attempt=row.attempt,
        moved_generation=row.moved_generation,
        failures=row.failures,
        created_at=row.created_at,
        updated_at=row.updated_at,
        events=tuple(event_from_row(event) for event in events),
    )


def _failure_from_row(row: DeploymentRow) -> Failure | None:
    if not row.failure_reason:
        return None
    return Failure(
        reason=row.failure_reason,
        step=DeploymentState(row.failure_step),
        message=row.failure_message,
        fix=row.failure_fix,
    )


def default_ref(names: Container[str], branch: str, hint: str) -> str:
    """Choose the ref that answers when a call names none; "" where nothing may.

    It is the source's default branch; until that is served, what was the default before, or
    what the model was made from. Where that is not served either, such a call fails: it never
    moves to another branch in silence.

    Args:
        names: The model's refs.
        branch: The source's default branch, in full or "".
        hint: The ref noted with the model, in full or "".
    """
    return next((name for name in (branch, hint) if name in names), "")
