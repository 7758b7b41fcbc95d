"""Version making: from a leased deployment to a version on disk; resolve, fetch, check, build."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from pushserve_server.build.contract import ModelFiles
from pushserve_server.deploy.builder import SourceLocation, StoredBundle
from pushserve_server.deploy.decide import CheckReachable, Retire, after_resolving
from pushserve_server.deploy.lease import Lease
from pushserve_server.deploy.make_bundle import make_bundle, rebuild
from pushserve_server.deploy.naming import choose_name
from pushserve_server.deploy.register import served_model
from pushserve_server.domain.records import Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed
from pushserve_server.source.fetch import is_reachable
from pushserve_server.source.filters import check_path, check_ref
from pushserve_server.source.remote import list_refs
from pushserve_server.source.rules import find_rule

logger = logging.getLogger(__name__)

_ASK_TIMEOUT: Final = 30.0


def resolve(lease: Lease) -> str | None:
    """Ask the remote which commit to take live; None where the ref is gone from it.

    Raises:
        SourceRefused: the operator does not list the source any more, or not this ref or folder.
        DeploymentFailed: the remote does not answer, or no branch or tag reaches the commit.
    """
    settings = lease.context.settings
    rule = find_rule(lease.row.source, settings.sources)
    timeout = min(_ASK_TIMEOUT, settings.fetch_timeout)
    remote = lease.persist(
        lambda: list_refs(lease.row.source, timeout=timeout, cancelled=lease.cancelled)
    )
    decision = after_resolving(lease.row.ref, lease.row.commit, remote.refs)
    if isinstance(decision, Retire):
        return None
    check_path(rule, lease.row.source, lease.row.path)
    if lease.row.ref:
        check_ref(rule, lease.row.source, lease.row.ref)
    if isinstance(decision, CheckReachable):
        _check_reachable(lease, decision.commit)
    elif decision.commit != lease.row.commit:
        if decision.moved:
            logger.info("%s: its ref has a newer commit", lease.row.name)
        message = f"its commit is {decision.commit[:12]}"
        lease.advance(DeploymentState.FETCHING, message, commit=decision.commit)
    return decision.commit


def _check_reachable(lease: Lease, commit: str) -> None:
    settings = lease.context.settings
    reachable = lease.persist(
        lambda: is_reachable(
            lease.row.source,
            commit,
            cache_dir=lease.context.builder.mirrors,
            timeout=settings.fetch_timeout,
            cancelled=lease.cancelled,
        )
    )
    if not reachable:
        raise DeploymentFailed(
            "COMMIT_NOT_REACHABLE",
            f"no branch or tag of the repository reaches commit {commit[:12]}",
            "Push a branch or tag that holds the commit, and register it again with --retry.",
        )


def make_version(lease: Lease, commit: str) -> Version:
    """Give the commit's version, on disk: the one there is, else one of the same bundle or built.

    Raises:
        DeploymentFailed: the commit cannot be fetched or does not pass its gate.
    """
    return _reuse(lease, commit) or _unchanged(lease, commit) or _build(lease, commit)


def _reuse(lease: Lease, commit: str) -> Version | None:
    """Give the version that the commit was built to; its bundle is made again if it was lost."""
    registry, builder = lease.context.registry, lease.context.builder
    name = _known_name(lease)
    known = registry.find_built(name, commit) if name else None
    if known is None:
        return None
    if not builder.bundles.has(known.digest):
        rebuild(lease, builder, registry, known, _log_as(lease, commit))
    return _add_version(lease, name, commit, _bundle_of(known))


def _unchanged(lease: Lease, commit: str) -> Version | None:
    """Give a version with the bundle of another, where nothing differs that it is made of."""
    registry, builder = lease.context.registry, lease.context.builder
    name = _known_name(lease)
    if not name:
        return None
    location = SourceLocation(lease.row.source, lease.row.path, commit)
    key = lease.persist(lambda: builder.key(location, lease.cancelled))
    same = registry.find_same_build(name, key)
    if same is None or not builder.bundles.has(same.digest):
        return None
    lease.note(f"nothing has changed since version {same.number} ({same.commit[:12]})")
    return _add_version(lease, name, commit, replace(_bundle_of(same), build_key=key))


def _bundle_of(version: Version) -> StoredBundle:
    return StoredBundle(
        version.digest, version.engine, version.signature, version.report, build_key=""
    )


def _known_name(lease: Lease) -> str:
    row = lease.row
    if row.model:
        return row.model
    model = served_model(lease.context.registry, row.source, row.path)
    return model.name if model is not None else ""


def _log_as(lease: Lease, commit: str) -> dict[str, object]:
    return {"commit": commit[:12], "deployment": lease.row.name}


def _build(lease: Lease, commit: str) -> Version:
    row = lease.row
    location = SourceLocation(row.source, row.path, commit)

    def plan(found: ModelFiles) -> tuple[str, ModelFiles]:
        name = choose_name(
            asked=row.model,
            registered=_known_name(lease),
            manifest=found.name,
            path=row.path,
            source=row.source,
        )
        return name, found

    name, bundle = make_bundle(lease, lease.context.builder, location, plan, _log_as(lease, commit))
    return _add_version(lease, name, commit, bundle)


def _add_version(lease: Lease, name: str, commit: str, result: StoredBundle) -> Version:
    return lease.context.registry.add_version(
        lease.token,
        model=name,
        default_ref=lease.row.ref,
        commit=commit,
        engine=result.engine,
        digest=result.digest,
        signature=result.signature,
        report=result.report,
        build_key=result.build_key,
    )
