"""Pruning: how much history of one ref is kept; in a transaction.

Only deployments that have ended go, with their events. What a ref, a pin or a lease needs stays:
the newest of the ref, by which the next is compared, the one that moved the ref last, and those
under way. Versions stay too: they are called by number and commit.
"""

from __future__ import annotations

from typing import Any, Final

from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.history import OPEN
from pushserve_server.registry.tables import DeploymentRow, Tables, tuples

_KEPT: Final = 50
"""Deployments that have ended, of one ref of a folder; of all bare commits of a folder."""
_KEPT_AUTOMATIC: Final = 10
"""Of these, those that failed and that nobody asked for."""
_AT_A_TIME: Final = 500


def prune(tables: Tables, newest: DeploymentRow) -> None:
    """Delete the oldest deployments of the ref that `newest` is of."""
    deployments, refs = tables.deployments, tables.refs
    ended = deployments.select(deployments.id).where(
        deployments.source == newest.source,
        deployments.path == newest.path,
        deployments.ref == newest.ref,
        deployments.state.not_in(OPEN),
        deployments.id.not_in(refs.select(refs.deployment_id)),
    )
    failed = ended.where(deployments.automatic, deployments.state == DeploymentState.FAILED)
    _delete(tables, ended, _KEPT)
    _delete(tables, failed, _KEPT_AUTOMATIC)


def _delete(tables: Tables, query: Any, kept: int) -> None:
    deployments, events = tables.deployments, tables.events
    oldest = query.order_by(deployments.id.desc()).offset(kept).limit(_AT_A_TIME)
    ids = [i for (i,) in tuples(oldest)]
    if ids:
        events.delete().where(events.deployment_id.in_(ids)).execute()
        deployments.delete().where(deployments.id.in_(ids)).execute()
