"""Tracking: the refs that the reconciler compares with the remotes; in a transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from peewee import fn

from pushserve_server.domain.records import Tracked
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry.row_records import default_ref
from pushserve_server.registry.tables import Tables, tuples


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where one ref was last seen. `commit` is "" where it is gone or was never resolved."""

    source: str
    path: str
    model: str
    ref: str
    commit: str


def tracked_folders(tables: Tables) -> list[Tracked]:
    """Give every folder with a ref that is served or was registered, by source and path.

    Of a ref the newest deployment says where it was seen, whether that went live or not.
    Refs that were deleted here are told apart; those that never were are left out.
    """
    folders: dict[tuple[str, str], Tracked] = {}
    # Served refs first, whose folders know their model; deployments are newer.
    served = _served(tables)
    for seen in (*served, *_registered(tables)):
        folder = folders.setdefault(
            (seen.source, seen.path), Tracked(seen.source, seen.path, seen.model, {})
        )
        folder.refs[seen.ref] = seen.commit
    defaults, deleted = _defaults(tables, served), _deleted(tables)
    return [
        replace(
            folders[key],
            default_ref=defaults.get(key, ""),
            deleted=frozenset(deleted[key] - folders[key].refs.keys()),
        )
        for key in sorted(folders)
    ]


def _defaults(tables: Tables, served: Sequence[_Seen]) -> dict[tuple[str, str], str]:
    """Give, by source and path, the ref that answers calls that name none."""
    models, sources = tables.models, tables.sources
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for seen in served:
        names[seen.source, seen.path].add(seen.ref)
    query = models.select(
        sources.url, models.path, sources.default_branch, models.default_ref
    ).join(sources, on=(models.source_id == sources.id))
    return {
        (url, path): default_ref(names[url, path], branch, hint)
        for url, path, branch, hint in tuples(query)
    }


def _deleted(tables: Tables) -> dict[tuple[str, str], set[str]]:
    """Give, by source and path, the refs of deployments that are history."""
    deployments = tables.deployments
    query = deployments.select(deployments.source, deployments.path, deployments.ref)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for source, path, ref in tuples(query.where(deployments.forgotten).distinct()):
        found[source, path].add(ref)
    return found


def _served(tables: Tables) -> list[_Seen]:
    refs, models, sources, versions = tables.refs, tables.models, tables.sources, tables.versions
    query = (
        refs.select(sources.url, models.path, models.name, refs.name, versions.commit)
        .join(models, on=(refs.model_id == models.id))
        .join(sources, on=(models.source_id == sources.id))
        .join_from(refs, versions, on=(refs.version_id == versions.id))
    )
    return [_Seen(*fields) for fields in tuples(query)]


def _registered(tables: Tables) -> Iterator[_Seen]:
    deployments = tables.deployments
    newest = (
        deployments.select(fn.MAX(deployments.id))
        .where(deployments.ref != "", ~deployments.forgotten)
        .group_by(deployments.source, deployments.path, deployments.ref)
    )
    unpinned = _unpinned(tables)
    for row in deployments.select().where(deployments.id.in_(newest)):
        if row.failure_reason == "REF_NOT_FOUND":
            continue
        retired = row.state == DeploymentState.READY and not row.commit
        if retired and (row.source, row.path, row.ref) in unpinned:
            # It was pinned then and follows Git again, so it is still to be retired.
            continue
        yield _Seen(row.source, row.path, row.model, row.ref, row.commit)


def _unpinned(tables: Tables) -> set[tuple[str, str, str]]:
    """Give (source, path, ref) of the refs that no pin holds."""
    refs, models, sources = tables.refs, tables.models, tables.sources
    query = (
        refs.select(sources.url, models.path, refs.name)
        .join(models, on=(refs.model_id == models.id))
        .join(sources, on=(models.source_id == sources.id))
        .where(refs.pinned_id.is_null())
    )
    return {(url, path, ref) for url, path, ref in tuples(query)}
