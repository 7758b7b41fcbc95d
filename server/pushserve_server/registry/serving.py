"""Serving state: the counter, the snapshot, versions and keep-alive requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable
from datetime import datetime, timedelta
from typing import Any

from peewee import chunked, fn

from pushserve_server.domain.records import ModelRoutes, Route, Snapshot, Version
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.history import OPEN
from pushserve_server.registry.row_records import default_ref, version_from_row
from pushserve_server.registry.tables import Tables, tuples


class ServingState:
    """The part of the registry that frontends and the supervisor serve by."""

    _store: RegistryDatabase

    def generation(self) -> int:
        """Read the counter of changes that matter to whoever serves."""
        with self._store.connected():
            return self._store.generation()

    def snapshot(self, idle_seconds: float) -> Snapshot:
        """Read what is to be served, without keep-alive requests older than `idle_seconds`.

        Such ones are deleted here, so that one generation has one snapshot.
        """
        self.expire_keep_alives(idle_seconds)
        with self._store.reading() as tables:
            return Snapshot(
                generation=self._store.generation(),
                models=tuple(_routes(tables)),
                referenced=(referenced := frozenset(_referenced(tables))),
                deploying=frozenset(_deploying(tables)),
                kept_alive=frozenset(_kept_alive(tables, referenced)),
            )

    def versions_by_id(self, ids: Iterable[int]) -> dict[int, Version]:
        """Give the versions of these ids; those that were deleted are missing."""
        found: dict[int, Version] = {}
        with self._store.reading() as tables:
            versions, models = tables.versions, tables.models
            for some in chunked(ids, 500):
                rows = list(versions.select().where(versions.id.in_(some)))
                wanted = {row.model_id for row in rows}
                named = models.select(models.id, models.name).where(models.id.in_(wanted))
                names = dict(tuples(named))
                found |= {row.id: version_from_row(row, names[row.model_id]) for row in rows}
        return found

    def deployment_names(self, ids: Iterable[int]) -> dict[int, str]:
        """Give the newest deployment of each of these versions, where there is one still."""
        found: dict[int, str] = {}
        with self._store.reading() as tables:
            deployments = tables.deployments
            query = deployments.select(deployments.version_id, deployments.name)
            for some in chunked(ids, 500):
                rows = query.where(deployments.version_id.in_(some)).order_by(deployments.id)
                found |= dict(tuples(rows))
        return found

    def digests(self, ids: Iterable[int]) -> dict[int, str]:
        """Give the digests of the bundles of these versions; those deleted are missing."""
        found: dict[int, str] = {}
        with self._store.reading() as tables:
            versions = tables.versions
            query = versions.select(versions.id, versions.digest)
            for some in chunked(ids, 500):
                found |= dict(tuples(query.where(versions.id.in_(some))))
        return found

    def keep_alive(self, version_ids: Collection[int], *, by_ref: bool = False) -> None:
        """Note that calls need some versions. Those deleted meanwhile are passed over.

        One `by_ref` counts while a ref or a pin points to its version, however old it is.
        """
        with self._store.writing() as tables:
            versions, now = tables.versions, self._store.now()
            there = versions.select(versions.id).where(versions.id.in_(list(version_ids)))
            # Every one of them is touched, so no `any` over the calls.
            first = [touch_keep_alive(tables, i, now, by_ref=by_ref) for (i,) in tuples(there)]
            if True in first:
                self._store.bump()

    def keep_alives(self) -> dict[int, datetime]:
        """Give when calls needed each version for the last time, by the registry's clock."""
        with self._store.reading() as tables:
            keep_alives = tables.keep_alives
            return dict(tuples(keep_alives.select(keep_alives.version_id, keep_alives.called_at)))

    def withdraw_keep_alives(self, version_ids: Collection[int]) -> None:
        """Take requests away: there is no memory for them. The next call makes them anew."""
        with self._store.writing() as tables:
            keep_alives = tables.keep_alives
            if keep_alives.delete().where(keep_alives.version_id.in_(list(version_ids))).execute():
                self._store.bump()

    def expire_keep_alives(self, idle_seconds: float, *, all_refs: bool = False) -> int:
        """Delete the keep-alive requests that are older than `idle_seconds`; give how many.

        Those by a ref that still points to their version stay, but for `all_refs`.
        """
        keep_alives = self._store.tables.keep_alives
        with self._store.reading() as tables:
            old = keep_alives.called_at <= self._store.now() - timedelta(seconds=idle_seconds)
            if not all_refs:
                old &= ~keep_alives.by_ref | ~_pointed_to(tables)
            # A look that takes no lock, as most find nothing.
            if not keep_alives.select().where(old).exists():
                return 0
        with self._store.writing():
            deleted: int = keep_alives.delete().where(old).execute()
            if deleted:
                self._store.bump()
            return deleted


def touch_keep_alive(
    tables: Tables, version_id: int, now: datetime, *, by_ref: bool = False
) -> bool:
    """Note a call for a version; say whether that may change what is to be loaded."""
    keep_alives = tables.keep_alives
    same = keep_alives.version_id == version_id
    if not by_ref:
        same &= ~keep_alives.by_ref  # one by a ref may be there and not count
    if keep_alives.update(called_at=now, by_ref=by_ref).where(same).execute():
        return False
    keep_alives.insert(version_id=version_id, called_at=now, by_ref=by_ref).on_conflict(
        conflict_target=[keep_alives.version_id], update={"called_at": now, "by_ref": by_ref}
    ).execute()
    return True


def _routes(tables: Tables) -> list[ModelRoutes]:
    models, sources, refs = tables.models, tables.sources, tables.refs
    routes: dict[int, list[Route]] = defaultdict(list)
    pointing = refs.select(refs.model_id, refs.name, refs.version_id, refs.pinned_id)
    for model_id, name, built, pinned in tuples(pointing.order_by(refs.id)):
        routes[model_id].append(Route(name, pinned or built))
    query = (
        models.select(models.id, models.name, sources.default_branch, models.default_ref)
        .join(sources, on=(models.source_id == sources.id))
        .order_by(models.name)
    )
    return [
        ModelRoutes(
            name,
            default_ref([route.ref for route in routes[model_id]], branch, hint),
            tuple(routes[model_id]),
        )
        for model_id, name, branch, hint in tuples(query)
    ]


def _referenced(tables: Tables) -> set[int]:
    """Give the versions that a ref or a pin points to.

    The version under a pin is among them, so that Unpin answers at once.
    """
    refs = tables.refs
    referenced = set[int]()
    for built, pinned in tuples(refs.select(refs.version_id, refs.pinned_id)):
        referenced |= {built, pinned or built}
    return referenced


def _deploying(tables: Tables) -> set[int]:
    deployments = tables.deployments
    underway = deployments.select(deployments.version_id).where(
        deployments.state.in_(OPEN), deployments.version_id != 0
    )
    return {version_id for (version_id,) in tuples(underway)}


def _kept_alive(tables: Tables, referenced: Container[int]) -> set[int]:
    query = tables.keep_alives.select(tables.keep_alives.version_id, tables.keep_alives.by_ref)
    return {i for i, by_ref in tuples(query) if not by_ref or i in referenced}


def _pointed_to(tables: Tables) -> Any:
    """The condition that some ref or pin points to a keep-alive request's version."""
    refs, keep_alives = tables.refs, tables.keep_alives
    pointing = (refs.version_id == keep_alives.version_id) | (
        refs.pinned_id == keep_alives.version_id
    )
    return fn.EXISTS(refs.select(refs.id).where(pointing))
