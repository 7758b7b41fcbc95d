"""Pinning: what people do to refs and models by Pin, Unpin and Delete."""

from __future__ import annotations

from typing import Any

from pushserve_server.domain.records import Failure, Ref
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import OPEN, change_to_failed
from pushserve_server.registry.lookups import model_row, ref_row, version_row
from pushserve_server.registry.models import ref_record
from pushserve_server.registry.tables import ModelRow, Tables


class Pinning:
    """The part of the registry that Pin, Unpin and Delete use."""

    _store: RegistryDatabase

    def pin(self, model: str, ref: str, *, number: int | None, commit: str | None) -> Ref:
        """Hold a ref on a version; without number and commit, on the one that answers now.

        Raises:
            BadInput: the commit is no SHA, too short or ambiguous.
            NotFound: there is no such model, ref or version.
        """
        with self._store.writing() as tables:
            found = model_row(tables, model)
            row = ref_row(tables, found, ref)
            if number is None and commit is None:
                row.pinned_id = row.pinned_id or row.version_id
            else:
                row.pinned_id = version_row(tables, found, number=number, commit=commit).id
            row.updated_at = self._store.shown_now()
            row.save()
            self._store.bump()
            return ref_record(tables, found, row.name)

    def unpin(self, model: str, ref: str) -> Ref:
        """Let a ref follow Git again; one that is not pinned stays as it is.

        Raises:
            NotFound: there is no such model or ref.
        """
        with self._store.writing() as tables:
            found = model_row(tables, model)
            row = ref_row(tables, found, ref)
            if row.pinned_id is not None:
                row.pinned_id = None
                row.updated_at = self._store.shown_now()
                row.save()
                self._store.bump()
            return ref_record(tables, found, row.name)

    def delete(self, model: str, ref: str) -> list[str]:
        """Forget a ref; without `ref`, the model with its refs and versions.

        Deployments under way end as FAILED; those that ended stay as history, but
        registering the same commit again makes a new one.

        Returns:
            The full names of the refs that are no longer served.

        Raises:
            NotFound: there is no such model or ref.
        """
        with self._store.writing() as tables:
            found = model_row(tables, model)
            if ref:
                names = [ref_row(tables, found, ref).name]
                self._forget(found, names[0], f"{names[0]} of {model!r} was deleted")
            else:
                names = [row.name for row in _refs(tables, found)]
                self._forget(found, None, f"{model!r} was deleted")
            tables.refs.delete().where(
                tables.refs.model_id == found.id, tables.refs.name.in_(names)
            ).execute()
            if not ref:
                _delete_model(tables, found)
            self._store.bump()
            return names

    def _forget(self, model: ModelRow, ref: str | None, message: str) -> None:
        deployments = self._store.tables.deployments
        source = self._store.tables.sources.get_by_id(model.source_id)
        which = (deployments.source == source.url) & (deployments.path == model.path)
        if ref is not None:
            which &= deployments.ref == ref
        underway = deployments.select().where(which, deployments.state.in_(OPEN))
        for row in self._store.locked(underway):
            step = DeploymentState(row.state)
            failure = Failure("DELETED", step, message, "Register it again to have it served.")
            change_to_failed(self._store, row, failure)
        deployments.update(forgotten=True).where(which).execute()


def _refs(tables: Tables, model: ModelRow) -> Any:
    return tables.refs.select().where(tables.refs.model_id == model.id).order_by(tables.refs.id)


def _delete_model(tables: Tables, model: ModelRow) -> None:
    """Delete the model, whose refs are deleted; keep-alive requests go with their versions.

    What frontends have loaded stays noted until they forget it: the workers stay as long.
    """
    versions = tables.versions
    versions.delete().where(versions.model_id == model.id).execute()
    model.delete_instance()
