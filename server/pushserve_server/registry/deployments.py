"""Deployments: putting them on disk, and reading them."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from pushserve_server.domain.pauses import LONGEST_RETRY
from pushserve_server.domain.records import Deployment
from pushserve_server.domain.ref_names import full_branch, full_names
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import AlreadyExists, NotFound, NotPossibleNow
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import supersede_older
from pushserve_server.registry.lookups import model_of_folder, note_served_default
from pushserve_server.registry.pruning import prune
from pushserve_server.registry.request_texts import check_text
from pushserve_server.registry.row_records import deployment_from_row
from pushserve_server.registry.tables import DeploymentRow, Tables


class Deployments:
    """The part of the registry that Register and its relatives use."""

    _store: RegistryDatabase

    def register(
        self,
        *,
        source: str,
        path: str,
        ref: str,
        commit: str,
        model: str,
        retry: bool,
        default_branch: str,
        automatic: bool = False,
    ) -> tuple[Deployment, bool]:
        """Put a deployment on disk, unless the newest of its ref already does the same.

        Older deployments of the ref that are not live yet are superseded by a new one.

        Args:
            source: Clone URL.
            path: Folder in it; "" is its root.
            ref: Full name, or "" for a bare commit.
            commit: Where the remote has the ref; "" where that is not known or it is gone.
            model: The name asked for, or "".
            retry: Make a new one where the newest has failed.
            default_branch: The remote's default branch, or "" where it is not known.
            automatic: No push and no person asked for it: while the ref is left alone because
                its remote has failed, none is made.

        Returns:
            The deployment, and whether this call made it.

        Raises:
            NotPossibleNow: the folder is served under another name.
            AlreadyExists: another folder is served under that name.
        """
        with self._store.writing() as tables:
            self._remember_source(source, full_branch(default_branch))
            name = _checked_name(tables, source, path, model)
            newest = _newest(tables, source, path, ref, commit)
            if newest is not None and (
                _does_the_same(tables, newest, commit, model, retry)
                or (automatic and self._is_left_alone(newest))
            ):
                return deployment_from_row(newest), False
            row = self._insert(
                source=source,
                path=path,
                ref=ref,
                commit=commit,
                model=name,
                automatic=automatic,
                failures=_failures_before(newest),
            )
            if ref:
                supersede_older(self._store, row)
            prune(tables, row)
            return deployment_from_row(row), True

    def note_default_branch(self, source: str, default_branch: str) -> None:
        """Take over what a remote says its default branch is; "" is not known."""
        with self._store.reading() as tables:
            row = tables.sources.get_or_none(tables.sources.url == source)
            if row is None or not default_branch or row.default_branch == default_branch:
                return
        with self._store.writing():
            self._remember_source(source, full_branch(default_branch))

    def _is_left_alone(self, newest: DeploymentRow) -> bool:
        """Say whether the remote failed for it a short time ago.

        A time that is further away than any pause was set before the clock was put back.
        """
        pause = newest.retry_at - self._store.now()
        return timedelta(0) < pause <= timedelta(seconds=LONGEST_RETRY)

    def _insert(self, **fields: Any) -> DeploymentRow:
        tables, now = self._store.tables, self._store.shown_now()
        queued = {"state": DeploymentState.QUEUED.value, "message": "waits for a deployer"}
        row: DeploymentRow = tables.deployments.create(
            name=_new_name(), created_at=now, updated_at=now, **queued, **fields
        )
        tables.events.insert(deployment_id=row.id, at=now, **queued).execute()
        self._store.tell()
        return row

    def _remember_source(self, url: str, default_branch: str) -> None:
        sources = self._store.tables.sources
        row = sources.get_or_none(sources.url == url)
        if row is None:
            sources.insert(url=url, default_branch=default_branch).execute()
        elif default_branch and default_branch != row.default_branch:
            row.default_branch = default_branch
            row.save(only=["default_branch"])
            note_served_default(self._store.tables, row)
            self._store.bump()  # calls that name no ref may go elsewhere

    def get_deployment(self, name: str) -> Deployment:
        """Give a deployment with its events.

        Raises:
            BadInput: nothing can be called so.
            NotFound: there is none of that name.
        """
        check_text("name", name)
        with self._store.reading() as tables:
            row = tables.deployments.get_or_none(tables.deployments.name == name)
            if row is None:
                text = f"no deployment is called {name!r}; ListDeployments shows them"
                raise NotFound("deployment", name, text)
            events = tables.events
            history = events.select().where(events.deployment_id == row.id).order_by(events.id)
            return deployment_from_row(row, history)

    def list_deployments(
        self,
        *,
        source: str = "",
        model: str = "",
        ref: str = "",
        state: DeploymentState | None = None,
        limit: int,
        before: int | None = None,
    ) -> list[Deployment]:
        """Give deployments without their events, newest first.

        Args:
            source: Only of this clone URL.
            model: Only of this model.
            ref: Only of this ref, full or short.
            state: Only in this state.
            limit: At most so many.
            before: Only those older than the one with this id.

        Raises:
            BadInput: nothing can be called so.
        """
        for field, value in (("source", source), ("model", model), ("ref", ref)):
            check_text(field, value)
        with self._store.reading() as tables:
            deployments = tables.deployments
            query = deployments.select().order_by(deployments.id.desc()).limit(limit)
            if source:
                query = query.where(deployments.source == source)
            if model:
                query = query.where(deployments.model == model)
            if ref:
                query = query.where(deployments.ref.in_(full_names(ref)))
            if state is not None:
                query = query.where(deployments.state == state.value)
            if before is not None:
                query = query.where(deployments.id < before)
            return [deployment_from_row(row) for row in query]


def _checked_name(tables: Tables, source: str, path: str, model: str) -> str:
    """Give the folder's name where it has one, else the one asked for, which is free."""
    served = model_of_folder(tables, source, path)
    if served is not None:
        if model and model != served.name:
            raise NotPossibleNow(
                f"this folder is served as {served.name!r}; register it under that name, or "
                f"delete {served.name!r} first",
                reason="MODEL_RENAMED",
            )
        return served.name
    if model and tables.models.get_or_none(tables.models.name == model) is not None:
        raise AlreadyExists(
            f"{model!r} is the name of another folder's model; choose another name",
            reason="MODEL_NAME_TAKEN",
        )
    return model


def _newest(tables: Tables, source: str, path: str, ref: str, commit: str) -> DeploymentRow | None:
    """Find the newest deployment of the ref; of the commit, where there is no ref."""
    deployments = tables.deployments
    query = deployments.select().where(
        deployments.source == source,
        deployments.path == path,
        deployments.ref == ref,
        ~deployments.forgotten,
    )
    if not ref:
        # Bare commits stand beside one another.
        query = query.where(deployments.commit == commit)
    row: DeploymentRow | None = query.order_by(deployments.id.desc()).first()
    return row


def _does_the_same(
    tables: Tables, newest: DeploymentRow, commit: str, model: str, retry: bool
) -> bool:
    state = DeploymentState(newest.state)
    if newest.commit != commit or (model and newest.model != model):
        return False
    if state is DeploymentState.READY:
        # A ref that was pinned when it went from the remote is still to be retired.
        return bool(commit) or not _is_served(tables, newest)
    if state is DeploymentState.FAILED:
        # Which commit has failed is not known where there is none.
        return bool(commit) and not retry
    return not state.is_final


def _failures_before(newest: DeploymentRow | None) -> int:
    """Count in how many deployments of the ref, up to now, the remote has failed."""
    if newest is None or newest.state == DeploymentState.READY:
        return 0
    return newest.failures


def _is_served(tables: Tables, deployment: DeploymentRow) -> bool:
    """Say whether the deployment's ref follows Git still."""
    model = model_of_folder(tables, deployment.source, deployment.path)
    if model is None:
        return False
    refs = tables.refs
    query = refs.select().where(
        refs.model_id == model.id, refs.name == deployment.ref, refs.pinned_id.is_null()
    )
    return query.exists()


def _new_name() -> str:
    return "d-" + base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
