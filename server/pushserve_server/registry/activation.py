"""Activation: adding versions, and moving refs to them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pushserve_runtime.signature import Signature
from pushserve_server.domain.records import Deployment, EngineName, Failure, Version
from pushserve_server.domain.ref_names import full_branch, short_name
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import AlreadyExists, NotFound, NotPossibleNow
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import (
    OPEN,
    change,
    change_to_failed,
    supersede,
    supersede_older,
)
from pushserve_server.registry.leasing import LeaseToken, Superseded, owned
from pushserve_server.registry.lookups import built_row, model_of_folder, note_served_default
from pushserve_server.registry.row_records import deployment_from_row, version_from_row
from pushserve_server.registry.serving import touch_keep_alive
from pushserve_server.registry.tables import DeploymentRow, ModelRow, RefRow, Tables, VersionRow


class Activation:
    """The part of the registry that makes versions and moves refs."""

    _store: RegistryDatabase

    def find_built(self, model: str, commit: str) -> Version | None:
        """Give the version that the commit was built to, if it was."""
        with self._store.reading() as tables:
            row = built_row(tables, model, commit)
            return None if row is None else version_from_row(row, model)

    def find_same_build(self, model: str, build_key: str) -> Version | None:
        """Give the newest version of the model that a build of that key was made for, if any."""
        with self._store.reading() as tables:
            versions, models = tables.versions, tables.models
            row = (
                versions.select()
                .join(models, on=(versions.model_id == models.id))
                .where(models.name == model, versions.build_key == build_key)
                .order_by(versions.number.desc())
                .first()
            )
            return None if row is None else version_from_row(row, model)

    def add_version(
        self,
        token: LeaseToken,
        *,
        model: str,
        default_ref: str,
        commit: str,
        engine: EngineName,
        digest: str,
        signature: Signature,
        report: dict[str, Any],
        build_key: str = "",
    ) -> Version:
        """Put a version on disk, or find the commit's, and move the deployment to LOADING.

        The model is made with its first version; `default_ref` is noted with it. By
        `build_key` another commit of which the same would be built finds the version.

        Raises:
            AlreadyExists: another folder's model has that name.
            NotPossibleNow: the folder is served under another name.
            LeaseLost, Superseded: as `Leases.advance`.
        """
        with self._store.writing() as tables:
            deployment, now = owned(self._store, token), self._store.shown_now()
            owner_row = _model_for(tables, deployment, model, full_branch(default_ref), now)
            row = built_row(tables, model, commit) or tables.versions.create(
                model_id=owner_row.id,
                number=_next_number(tables, owner_row.id),
                commit=commit,
                engine=engine.value,
                digest=digest,
                signature=json.dumps(signature.to_json()),
                report=json.dumps(report),
                build_key=build_key,
                created_at=now,
            )
            message = f"version {row.number} is on disk; loading it"
            change(
                self._store,
                deployment,
                DeploymentState.LOADING,
                message,
                commit=commit,
                model=model,
                version_id=row.id,
                version=row.number,
            )
            return version_from_row(row, model)

    def replace_bundle(
        self, version_id: int, digest: str, report: dict[str, Any], *, build_key: str = ""
    ) -> None:
        """Note the bundle of a version that was built again, because the first was lost.

        It is for the version's engine and has its signature.

        Raises:
            NotFound: the version was deleted.
        """
        with self._store.writing() as tables:
            versions = tables.versions
            changed = (
                versions.update(digest=digest, report=json.dumps(report), build_key=build_key)
                .where(versions.id == version_id)
                .execute()
            )
            if not changed:
                raise NotFound("version", str(version_id), "the version was deleted meanwhile")
            self._store.bump()

    def activate(self, token: LeaseToken) -> Deployment:
        """Move the ref to the deployment's version.

        Every frontend has to come to the deployment's `moved_generation` then. A bare commit
        moves none. One that is ACTIVATING already is left as it is. Older deployments of the
        ref end here, also those that moved it before and were still to be confirmed.

        Raises:
            Superseded: the ref has a newer deployment, or as `Leases.advance`.
            LeaseLost: as `Leases.advance`.
            ValueError: there is no version yet.
        """
        with self._store.writing() as tables:
            row = owned(self._store, token)
            newer = _newer(tables, row) if row.state != DeploymentState.ACTIVATING else None
            if newer is not None:
                supersede(self._store, row, newer.name)
            elif row.state != DeploymentState.ACTIVATING:
                self._move_ref(row)
            activated = deployment_from_row(row)
        if newer is not None:
            # Only now, or the transaction would be undone.
            raise Superseded(f"{activated.name} is superseded by {newer.name}")
        return activated

    def _move_ref(self, row: DeploymentRow) -> None:
        version = self._store.tables.versions.get_or_none(id=row.version_id)
        if version is None:
            raise ValueError(f"{row.name} has no version to activate")
        message = f"version {row.version} is loaded; it is called by its number or commit"
        if row.ref:
            name = short_name(row.ref)
            message = f"{name} now points to version {row.version}; switching traffic to it"
        if row.ref:
            _set_ref(self._store.tables, row, version, self._store.shown_now())
        self._moved(row, message)

    def _moved(self, row: DeploymentRow, message: str, **fields: Any) -> None:
        """Say that the ref has moved, in the transaction that moves it."""
        generation = self._store.bump()
        moving = DeploymentState.ACTIVATING
        change(self._store, row, moving, message, moved_generation=generation, **fields)
        if row.ref:
            supersede_older(self._store, row, OPEN)

    def finish(self, token: LeaseToken) -> Deployment:
        """Say that every frontend serves by the deployment's `moved_generation`.

        Raises:
            LeaseLost, Superseded: as `Leases.advance`.
        """
        with self._store.writing() as tables:
            row = owned(self._store, token)
            self._keep_running(tables, row, self._store.now())
            change(self._store, row, DeploymentState.READY, _what_answers(tables, row))
            return deployment_from_row(row)

    @staticmethod
    def _keep_running(tables: Tables, row: DeploymentRow, now: datetime) -> None:
        """Let a version that is loaded count as called just now, where that keeps it loaded.

        No ref holds the version of a bare commit, and workers run for keep-alive requests alone.
        """
        version = tables.versions.get_or_none(id=row.version_id)
        if version is not None and (not row.ref or version.engine == EngineName.WORKER):
            touch_keep_alive(tables, version.id, now, by_ref=bool(row.ref))

    def retire(self, token: LeaseToken) -> Deployment:
        """Stop serving a ref that is gone from the remote.

        The deployment is then ACTIVATING, until every frontend has dropped the ref. A pinned
        ref stays, and it is READY. A ref that was never served makes it fail.

        Raises:
            LeaseLost, Superseded: as `Leases.advance`.
        """
        with self._store.writing() as tables:
            row = owned(self._store, token)
            served = _served_ref(tables, row)
            if served is None:
                change_to_failed(self._store, row, _ref_not_found(row))
            elif served.pinned_id is not None:
                message = f"{_gone(row)}; it is pinned, so it is still served"
                change(self._store, row, DeploymentState.READY, message, commit="")
            else:
                served.delete_instance()
                self._moved(row, f"{_gone(row)}; ending its traffic", commit="")
            return deployment_from_row(row)


def _gone(row: DeploymentRow) -> str:
    return f"{short_name(row.ref)} no longer exists in the repository"


def _what_answers(tables: Tables, row: DeploymentRow) -> str:
    """Say what is true of a deployment that every frontend has come to."""
    name = short_name(row.ref)
    if not row.commit:
        return f"{name} is no longer served"
    if not row.ref:
        return f"version {row.version} answers calls by its number or commit"
    ref = _served_ref(tables, row)
    if ref is None or ref.pinned_id in (None, row.version_id):
        return f"all traffic of {name} goes to version {row.version}"
    pinned = tables.versions.get_by_id(ref.pinned_id)
    return (
        f"version {row.version} is ready, and {name} is pinned to version {pinned.number}, "
        "which answers until it is unpinned"
    )


def _ref_not_found(row: DeploymentRow) -> Failure:
    return Failure(
        reason="REF_NOT_FOUND",
        step=DeploymentState(row.state),
        message=f"the repository has no branch or tag {short_name(row.ref)!r}",
        fix="Push that branch or tag, or register one that exists.",
    )


def _model_for(
    tables: Tables, deployment: DeploymentRow, name: str, default_ref: str, now: datetime
) -> ModelRow:
    served = model_of_folder(tables, deployment.source, deployment.path)
    if served is not None and served.name == name:
        return served
    if served is not None:
        raise NotPossibleNow(
            f"this folder is served as {served.name!r}, and not as {name!r}",
            reason="MODEL_RENAMED",
        )
    if tables.models.get_or_none(name=name) is not None:
        raise AlreadyExists(
            f"{name!r} is the name of another folder's model", reason="MODEL_NAME_TAKEN"
        )
    return tables.models.create(
        name=name,
        source_id=tables.sources.get(url=deployment.source).id,
        path=deployment.path,
        default_ref=default_ref,
        created_at=now,
    )


def _next_number(tables: Tables, model_id: int) -> int:
    versions = tables.versions
    newest = (
        versions.select(versions.number)
        .where(versions.model_id == model_id)
        .order_by(versions.number.desc())
        .first()
    )
    return 1 if newest is None else newest.number + 1


def _newer(tables: Tables, row: DeploymentRow) -> DeploymentRow | None:
    if not row.ref:
        return None
    deployments = tables.deployments
    newer: DeploymentRow | None = (
        deployments.select()
        .where(
            deployments.source == row.source,
            deployments.path == row.path,
            deployments.ref == row.ref,
            deployments.id > row.id,
        )
        .order_by(deployments.id.desc())
        .first()
    )
    return newer


def _served_ref(tables: Tables, row: DeploymentRow) -> RefRow | None:
    model = model_of_folder(tables, row.source, row.path)
    if model is None:
        return None
    ref: RefRow | None = tables.refs.get_or_none(model_id=model.id, name=row.ref)
    return ref


def _set_ref(tables: Tables, row: DeploymentRow, version: VersionRow, now: datetime) -> None:
    ref = tables.refs.get_or_none(model_id=version.model_id, name=row.ref) or tables.refs(
        model_id=version.model_id, name=row.ref
    )
    ref.version_id, ref.deployment_id, ref.updated_at = version.id, row.id, now
    ref.save()
    models = tables.models
    unset = (models.id == version.model_id) & (models.default_ref == "")
    models.update(default_ref=row.ref).where(unset).execute()  # made from a bare commit
    note_served_default(tables, tables.sources.get(url=row.source))
