"""Leasing: a deployment has one owner at a time; it is given away when the owner is silent."""

from __future__ import annotations

from datetime import datetime, timedelta

from peewee import ModelSelect

from pushserve_server.domain.records import Deployment, Failure
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import OPEN, change, change_to_failed
from pushserve_server.registry.lookups import built_row
from pushserve_server.registry.row_records import deployment_from_row
from pushserve_server.registry.tables import DeploymentRow, Tables


class LeaseLost(Exception):
    """Somebody else has the deployment: leave it alone."""


class Superseded(Exception):
    """The deployment has ended (superseded, or its ref or model was deleted): stop."""


class Leases:
    """The part of the registry that takes deployments from state to state."""

    _store: RegistryDatabase

    def lease(self, owner: str, now: datetime, seconds: float) -> Deployment | None:
        """Take the oldest deployment that nobody works on; None where there is none.

        One that was taken before starts again from QUEUED, except in ACTIVATING: its ref
        has moved, and only the frontends are still to be waited for.
        """
        with self._store.reading() as tables:
            # A look that takes no lock, as most find nothing.
            if not _takeable(tables, now).exists():
                return None
        with self._store.claiming() as tables:
            row = self._store.locked(_takeable(tables, now).limit(1), skip=True).first()
            if row is None:
                return None
            state = DeploymentState(row.state)
            if state not in (DeploymentState.QUEUED, DeploymentState.ACTIVATING):
                message = f"started again: the deployer stopped answering while {state.lower()}"
                change(self._store, row, DeploymentState.QUEUED, message, now)
            row.owner = owner
            row.lease_until = now + timedelta(seconds=seconds)
            row.attempt += 1
            row.save(only=["owner", "lease_until", "attempt"])
            return deployment_from_row(row)

    def renew(self, deployment_id: int, owner: str, now: datetime, seconds: float) -> bool:
        """Hold the lease for longer; False where it is lost or the deployment has ended."""
        with self._store.claiming() as tables:
            deployments = tables.deployments
            changed: int = (
                deployments.update(lease_until=now + timedelta(seconds=seconds))
                .where(
                    deployments.id == deployment_id,
                    deployments.owner == owner,
                    deployments.state.in_(OPEN),
                )
                .execute()
            )
            return changed == 1

    def advance(
        self,
        deployment_id: int,
        owner: str,
        state: DeploymentState,
        message: str,
        now: datetime,
        *,
        commit: str | None = None,
        model: str | None = None,
    ) -> Deployment:
        """Say that the deployment has come to `state`, or makes progress in it, as `message` tells.

        A `commit` other than the row's makes it forget the version that it had. LOADING
        without `Activation.add_version` takes the version that the commit was built to.

        Raises:
            LeaseLost: another owner has it.
            Superseded: it has ended.
            ValueError: `state` does not follow the state that it is in, or it is LOADING
                and there is no version.
        """
        with self._store.writing() as tables:
            row = owned(self._store, deployment_id, owner)
            if model is not None:
                row.model = model
            moved = commit is not None and commit != row.commit
            row.commit = row.commit if commit is None else commit
            version = None
            if state is DeploymentState.LOADING:
                version = built_row(tables, row.model, row.commit)
                if version is None:
                    raise ValueError(f"{row.name}: its commit was not built")
            fields: dict[str, str | int] = {"model": row.model, "commit": row.commit}
            if version is not None:
                fields |= {"version_id": version.id, "version": version.number}
            elif moved and row.version_id:
                fields |= {"version_id": 0, "version": 0}
            change(self._store, row, state, message, now, **fields)
            return deployment_from_row(row)

    def note(self, deployment_id: int, owner: str, message: str, now: datetime) -> None:
        """Add an event to the state that the deployment is in.

        Raises:
            LeaseLost, Superseded: as `advance`.
        """
        with self._store.writing():
            row = owned(self._store, deployment_id, owner)
            change(self._store, row, DeploymentState(row.state), message, now)

    def fail(self, deployment_id: int, owner: str, failure: Failure, now: datetime) -> Deployment:
        """End the deployment; its ref stays where it is.

        Raises:
            LeaseLost, Superseded: as `advance`.
        """
        with self._store.writing():
            row = owned(self._store, deployment_id, owner)
            change_to_failed(self._store, row, failure, now)
            return deployment_from_row(row)


def owned(store: RegistryDatabase, deployment_id: int, owner: str) -> DeploymentRow:
    """Read and lock the row of a deployment that `owner` works on.

    Raises:
        LeaseLost, Superseded: as `Leases.advance`.
    """
    deployments = store.tables.deployments
    query = deployments.select().where(deployments.id == deployment_id)
    row: DeploymentRow | None = store.locked(query).first()
    if row is None or row.owner != owner:
        raise LeaseLost(f"deployment {deployment_id} is not {owner}'s")
    if DeploymentState(row.state).is_final:
        raise Superseded(f"{row.name} is {row.state}: {row.message}")
    return row


def _takeable(tables: Tables, now: datetime) -> ModelSelect[DeploymentRow]:
    deployments = tables.deployments
    return (
        deployments.select()
        .where(deployments.state.in_(OPEN), deployments.lease_until <= now)
        .order_by(deployments.id)
    )
