"""Leasing: a deployment has one owner at a time; it is given away when the owner is silent.

Every taking is another attempt, and every write names the attempt that it belongs to. So one
that was taken again is out of reach for whoever had it before, be it another thread of the same
owner, however late it wakes up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import ModelSelect

from pushserve_server.domain.pauses import LONGEST_RETRY, growing_pause
from pushserve_server.domain.records import Deployment, Failure
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import BEFORE_LOADING, OPEN, change, change_to_failed
from pushserve_server.registry.lookups import built_row
from pushserve_server.registry.redating import is_dated_later, redate
from pushserve_server.registry.row_records import deployment_from_row
from pushserve_server.registry.tables import DeploymentRow, Tables, tuples


class LeaseLost(Exception):
    """Somebody else has the deployment, or a later attempt: leave it alone."""


class Superseded(Exception):
    """The deployment has ended (superseded, or its ref or model was deleted): stop."""


@dataclass(frozen=True, slots=True)
class LeaseToken:
    """What gives the right to write a deployment's row: its owner, in this one attempt."""

    deployment_id: int
    owner: str
    attempt: int


class Leases:
    """The part of the registry that takes deployments from state to state."""

    _store: RegistryDatabase

    def lease(
        self, owner: str, seconds: float, *, failed_before: bool = True
    ) -> tuple[LeaseToken, Deployment] | None:
        """Take a deployment that nobody works on; None where there is none.

        Of one source there is one at work at a time until its version is on disk, so that none
        takes every slot. The oldest goes first, but after those whose remote has not failed
        lately; without `failed_before`, only these are taken. One that was taken before starts
        again from QUEUED, except in ACTIVATING: its ref has moved, and only the frontends are
        still to be waited for.
        """
        with self._store.reading() as tables:
            # A look that takes no lock, as most find nothing.
            now = self._store.now()
            found = _takeable(tables, now, failed_before=failed_before)
            if not (found.exists() or is_dated_later(tables, now)):
                return None
        # Others that take one of the same source meanwhile would lock another row.
        with self._store.writing() as tables:
            now = self._store.now()
            redate(tables, now)
            found = _takeable(tables, now, failed_before=failed_before)
            row = self._store.locked(found.limit(1), skip=True).first()
            if row is None:
                return None
            state = DeploymentState(row.state)
            if state not in (DeploymentState.QUEUED, DeploymentState.ACTIVATING):
                message = f"started again: the deployer stopped answering while {state.lower()}"
                change(self._store, row, DeploymentState.QUEUED, message)
            row.owner = owner
            row.leased_at, row.lease_until = now, now + timedelta(seconds=seconds)
            row.attempt += 1
            row.save(only=["owner", "leased_at", "lease_until", "attempt"])
            return LeaseToken(row.id, owner, row.attempt), deployment_from_row(row)

    def renew(self, token: LeaseToken, seconds: float) -> bool:
        """Hold the lease for longer; False where it is lost or the deployment has ended."""
        with self._store.claiming() as tables:
            deployments, now = tables.deployments, self._store.now()
            changed: int = (
                deployments.update(leased_at=now, lease_until=now + timedelta(seconds=seconds))
                .where(_is_held_by(tables, token))
                .execute()
            )
            return changed == 1

    def held(self, tokens: Collection[LeaseToken]) -> set[LeaseToken]:
        """Give those that are the newest attempt at a deployment that has not ended."""
        with self._store.reading() as tables:
            deployments = tables.deployments
            query = deployments.select(deployments.id, deployments.owner, deployments.attempt)
            wanted = [token.deployment_id for token in tokens]
            rows = query.where(deployments.id.in_(wanted), deployments.state.in_(OPEN))
            return {LeaseToken(*fields) for fields in tuples(rows)}.intersection(tokens)

    def advance(
        self,
        token: LeaseToken,
        state: DeploymentState,
        message: str,
        *,
        commit: str | None = None,
        model: str | None = None,
    ) -> Deployment:
        """Say that the deployment has come to `state`, or makes progress in it, as `message` tells.

        A `commit` other than the row's makes it forget the version that it had. LOADING
        without `Activation.add_version` takes the version that the commit was built to.

        Raises:
            LeaseLost: another owner has it, or a later attempt.
            Superseded: it has ended.
            ValueError: `state` does not follow the state that it is in, or it is LOADING
                and there is no version.
        """
        with self._store.writing() as tables:
            row = owned(self._store, token)
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
            change(self._store, row, state, message, **fields)
            return deployment_from_row(row)

    def note(self, token: LeaseToken, message: str) -> None:
        """Add an event to the state that the deployment is in.

        Raises:
            LeaseLost, Superseded: as `advance`.
        """
        with self._store.writing():
            row = owned(self._store, token)
            change(self._store, row, DeploymentState(row.state), message)

    def fail(
        self, token: LeaseToken, failure: Failure, *, retry_pause: float | None = None
    ) -> Deployment:
        """End the deployment; its ref stays where it is.

        Where the remote has failed and not the commit, `retry_pause` is how long the ref is left
        alone for at least, in seconds; it doubles with each such failure in a row. The commit
        is forgotten then, so that whoever compares it with the remote's sees a difference.

        Raises:
            LeaseLost, Superseded: as `advance`.
            ValueError: its ref has moved, so that it would not be true.
        """
        with self._store.writing():
            row = owned(self._store, token)
            if row.state == DeploymentState.ACTIVATING:
                raise ValueError(f"{row.name} has moved its ref: it has not failed")
            fields: dict[str, Any] = {"failures": 0}
            if row.ref and retry_pause is not None:
                fields = self._retry(row.failures + 1, retry_pause)
            change_to_failed(self._store, row, failure, **fields)
            return deployment_from_row(row)

    def _retry(self, failures: int, first: float) -> dict[str, Any]:
        pause = timedelta(seconds=growing_pause(failures, first, LONGEST_RETRY))
        forgotten = {"commit": "", "version_id": 0, "version": 0}
        return {**forgotten, "failures": failures, "retry_at": self._store.now() + pause}


def owned(store: RegistryDatabase, token: LeaseToken) -> DeploymentRow:
    """Read and lock the row of a deployment that `token` gives the right to write.

    Raises:
        LeaseLost, Superseded: as `Leases.advance`.
    """
    deployments = store.tables.deployments
    query = deployments.select().where(deployments.id == token.deployment_id)
    row: DeploymentRow | None = store.locked(query).first()
    if row is None or (row.owner, row.attempt) != (token.owner, token.attempt):
        raise LeaseLost(
            f"deployment {token.deployment_id} is not {token.owner}'s in attempt {token.attempt}"
        )
    if DeploymentState(row.state).is_final:
        raise Superseded(f"{row.name} is {row.state}: {row.message}")
    return row


def _is_held_by(tables: Tables, token: LeaseToken) -> Any:
    deployments = tables.deployments
    return (
        (deployments.id == token.deployment_id)
        & (deployments.owner == token.owner)
        & (deployments.attempt == token.attempt)
        & deployments.state.in_(OPEN)
    )


def _takeable(tables: Tables, now: datetime, *, failed_before: bool) -> ModelSelect[DeploymentRow]:
    deployments, others = tables.deployments, tables.deployments.alias()
    busy = others.select(others.source).where(
        others.state.in_(BEFORE_LOADING), others.lease_until > now
    )
    moved = deployments.state == DeploymentState.ACTIVATING
    query = deployments.select().where(
        deployments.state.in_(OPEN),
        deployments.lease_until <= now,
        moved | deployments.source.not_in(busy),
    )
    if not failed_before:
        query = query.where(moved | (deployments.failures == 0))
    return query.order_by(deployments.failures > 0, deployments.id)
