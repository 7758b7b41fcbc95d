"""From a leased deployment to a version on disk: resolve, fetch, check, build."""

from __future__ import annotations

import logging
from typing import Final

from pushserve_server.deploy.builder import Place, Product
from pushserve_server.deploy.decide import CheckReachable, Retire, after_resolving
from pushserve_server.deploy.lease import Leased
from pushserve_server.deploy.naming import choose_name
from pushserve_server.deploy.register import served_model
from pushserve_server.domain.records import Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed
from pushserve_server.source.fetch import is_reachable
from pushserve_server.source.remote import list_refs
from pushserve_server.source.rules import find_rule

logger = logging.getLogger(__name__)

_ASK_TIMEOUT: Final = 30.0


def resolve(leased: Leased) -> str | None:
    """Ask the remote which commit to take live; None where the ref is gone from it.

    Raises:
        SourceRefused: the operator does not list the source any more.
        DeploymentFailed: the remote does not answer, or no branch or tag reaches the commit.
    """
    settings = leased.desk.settings
    find_rule(leased.row.source, settings.sources)
    timeout = min(_ASK_TIMEOUT, settings.fetch_timeout)
    remote = leased.persist(
        lambda: list_refs(leased.row.source, timeout=timeout, cancelled=leased.cancelled)
    )
    decision = after_resolving(leased.row.ref, leased.row.commit, remote.refs)
    if isinstance(decision, Retire):
        return None
    if isinstance(decision, CheckReachable):
        _check_reachable(leased, decision.commit)
    elif decision.commit != leased.row.commit:
        if decision.moved:
            logger.info("%s: its ref has moved on", leased.row.name)
        message = f"the remote has {decision.commit[:12]}"
        leased.advance(DeploymentState.FETCHING, message, commit=decision.commit)
    return decision.commit


def _check_reachable(leased: Leased, commit: str) -> None:
    settings = leased.desk.settings
    reachable = leased.persist(
        lambda: is_reachable(
            leased.row.source,
            commit,
            cache_dir=leased.desk.builder.mirrors,
            timeout=settings.fetch_timeout,
            cancelled=leased.cancelled,
        )
    )
    if not reachable:
        raise DeploymentFailed(
            "COMMIT_NOT_REACHABLE",
            f"no branch or tag of the repository reaches commit {commit[:12]}",
            "Push a branch or tag that holds the commit, and register it again.",
        )


def make_version(leased: Leased, commit: str) -> Version:
    """Give the commit's version, on disk: the one there is, else one built now.

    Raises:
        DeploymentFailed: the commit cannot be fetched or does not pass its gate.
    """
    return _reuse(leased, commit) or _build(leased, commit)


def _reuse(leased: Leased, commit: str) -> Version | None:
    name = _known_name(leased)
    known = leased.desk.registry.find_built(name, commit) if name else None
    if known is None or not leased.desk.builder.bundles.has(known.digest):
        return None
    product = Product(known.digest, known.engine, known.signature, known.report)
    return _add_version(leased, name, commit, product)


def _known_name(leased: Leased) -> str:
    row = leased.row
    if row.model:
        return row.model
    model = served_model(leased.desk.registry, row.source, row.path)
    return model.name if model is not None else ""


def _build(leased: Leased, commit: str) -> Version:
    row, builder, registry = leased.row, leased.desk.builder, leased.desk.registry
    place = Place(row.source, row.path, commit)
    with builder.workplace() as workplace:
        files = leased.persist(lambda: builder.fetch(place, workplace, leased.cancelled))
        message = f"fetched {len(files.names)} files, {files.size} bytes"
        leased.advance(DeploymentState.CHECKING, message)
        plan = builder.check(place, files)
        name = choose_name(
            asked=row.model,
            registered=_known_name(leased),
            manifest=plan.name,
            path=row.path,
            source=row.source,
        )
        what = plan.format if plan.predict_py else plan.artifact
        leased.advance(DeploymentState.BUILDING, f"trying {what} in the sandbox", model=name)
        product = builder.build(files, plan, leased.cancelled, leased.note)
    known = registry.find_built(name, commit)
    if known is not None:
        registry.replace_bundle(known.id, product.digest, product.report)
    return _add_version(leased, name, commit, product)


def _add_version(leased: Leased, name: str, commit: str, product: Product) -> Version:
    version = leased.desk.registry.add_version(
        leased.row.id,
        leased.desk.owner,
        model=name,
        default_ref=leased.row.ref,
        commit=commit,
        engine=product.engine,
        digest=product.digest,
        signature=product.signature,
        report=product.report,
        now=leased.now,
    )
    leased.desk.hints.wake()
    return version
