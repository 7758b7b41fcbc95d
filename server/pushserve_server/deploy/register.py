"""Register: puts a deployment on disk, for the RPC of that name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pushserve_runtime.build_error import listed
from pushserve_runtime.closest_name import did_you_mean
from pushserve_server.deploy.decide import RefAt, steps_to
from pushserve_server.deploy.register_target import Target, clean_target
from pushserve_server.deploy.remote_asks import RemoteAsks
from pushserve_server.domain.records import Deployment, Model
from pushserve_server.domain.ref_names import full_branch, full_names, short_name
from pushserve_server.errors import DeploymentFailed, NotFound, SourceRefused, Unavailable
from pushserve_server.registry import Registry
from pushserve_server.settings import Settings, SourceRule
from pushserve_server.source.filters import check_path, check_ref
from pushserve_server.source.remote import RemoteRefs, resolve
from pushserve_server.source.rules import allowed_spelling, find_rule
from pushserve_server.source.urls import parse_url

_ASKS: Final = RemoteAsks()
"""Of this process: what it bounds are the processes that this one starts."""
_SHOWN: Final = 10
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class _Resolved:
    """Full ref and commit; the commit is "" where the ref is gone or the remote is silent."""

    target: Target
    ref: str
    commit: str


def register(
    registry: Registry,
    settings: Settings,
    *,
    source: str,
    ref: str = "",
    commit: str = "",
    path: str = "",
    model: str = "",
    retry: bool = False,
    asks: RemoteAsks = _ASKS,
) -> tuple[Deployment, bool]:
    """Give the deployment of a ref or commit, and whether this call made it.

    A push event names a repository and a ref, and nothing in it: a call without path and
    model is for every model of the source, and for the root where there is none yet. The
    deployment given is then the first folder's.

    The remote is asked where the ref points. One that does not answer in time is no
    reason to lose the call: the deployment is queued, and the deployer asks again.

    Raises:
        BadInput: a field is wrong.
        SourceRefused: the operator has not listed the source, or not this ref or folder of it.
        NotFound: the remote has no such repository, ref or default branch.
        Unavailable: the remote is silent, and without it the default branch is not known.
        AlreadyExists, NotPossibleNow: the model's name belongs to another folder.
    """
    target = clean_target(source=source, ref=ref, commit=commit, path=path, model=model)
    known = registry.source_urls(parse_url(target.source).name)
    target = replace(target, source=allowed_spelling(target.source, settings.sources, known))
    rule = find_rule(target.source, settings.sources)
    remote = _ask(asks, target)
    targets = [replace(target, path=folder) for folder in _folders(registry, target)]
    resolved = [found for each in targets if (found := _resolve(registry, each, remote))]
    if not resolved:
        raise _nothing_found(target, remote)
    resolved = _deployed(rule, resolved)
    deployments = [_register(registry, found, remote, retry=retry) for found in resolved]
    return deployments[0]


def _deployed(rule: SourceRule, resolved: Sequence[_Resolved]) -> list[_Resolved]:
    """Give what the operator's globs let pass, and what is gone: it is to be retired.

    Raises:
        SourceRefused: REF_NOT_DEPLOYED, PATH_NOT_DEPLOYED; nothing is left.
    """
    passed, refused = [], None
    for found in resolved:
        try:
            check_path(rule, found.target.source, found.target.path)
            if found.ref and found.commit:
                check_ref(rule, found.target.source, found.ref)
            passed.append(found)
        except SourceRefused as error:
            refused = error
    if refused is not None and not passed:
        raise refused
    return passed


def _register(
    registry: Registry, found: _Resolved, remote: RemoteRefs | None, *, retry: bool
) -> tuple[Deployment, bool]:
    steps: tuple[RefAt, ...] = (RefAt(found.ref, found.commit),)
    if remote is not None and found.ref and not found.commit:
        default = _default_ref(registry, found.target)
        steps = steps_to(steps[0], default, remote.head, remote.refs)
    branch = (remote.head or "") if remote is not None else ""
    target = found.target
    return register_in_turn(
        steps,
        lambda step: registry.register(
            source=target.source,
            path=target.path,
            ref=step.ref,
            commit=step.commit,
            model=target.model,
            retry=retry,
            default_branch=branch,
        ),
    )[-1]


def register_in_turn(
    steps: Sequence[RefAt], make: Callable[[RefAt], tuple[Deployment, bool]]
) -> list[tuple[Deployment, bool]]:
    """Make deployments, each where the one before has ended: the reconciler makes the others."""
    made: list[tuple[Deployment, bool]] = []
    for step in steps:
        made.append(make(step))
        if not made[-1][0].state.is_final:
            break
    return made


def served_model(registry: Registry, source: str, path: str) -> Model | None:
    """Give the model of one folder of one source, if there is one."""
    return next((model for model in _models(registry, source) if model.path == path), None)


def _models(registry: Registry, source: str) -> Iterator[Model]:
    after = ""
    while page := registry.list_models(source=source, limit=_PAGE, after=after):
        yield from page
        after = page[-1].name


def _folders(registry: Registry, target: Target) -> list[str]:
    if target.path or target.model:
        return [target.path]
    return sorted(model.path for model in _models(registry, target.source)) or [""]


def _ask(asks: RemoteAsks, target: Target) -> RemoteRefs | None:
    """Give the remote's refs, None where it is silent."""
    try:
        return asks.refs(target.source)
    except DeploymentFailed as error:
        raise NotFound("source", target.source, f"{error.message}. {error.fix}") from None


def _resolve(registry: Registry, target: Target, remote: RemoteRefs | None) -> _Resolved | None:
    """Give full ref and commit; None where neither the remote nor the registry has the ref."""
    if target.commit:
        tags = remote.tag_objects if remote is not None else {}
        return _Resolved(target, "", tags.get(target.commit, target.commit))
    found = resolve(remote, target.ref or "HEAD") if remote is not None else None
    if found is not None:
        return _Resolved(target, *found)
    known = _known_ref(registry, target)
    if not known and remote is None and target.ref:
        known = full_branch(target.ref)
    return _Resolved(target, known, "") if known else None


def _known_ref(registry: Registry, target: Target) -> str:
    """Give the full name of the ref if it was registered for this folder, else ""."""
    wanted = target.ref or _default_ref(registry, target)
    for tracked in registry.tracked():
        if (tracked.source, tracked.path) == (target.source, target.path):
            return next((name for name in full_names(wanted) if name in tracked.refs), "")
    return ""


def _default_ref(registry: Registry, target: Target) -> str:
    model = served_model(registry, target.source, target.path)
    return model.default_ref if model is not None else ""


def _nothing_found(target: Target, remote: RemoteRefs | None) -> NotFound | Unavailable:
    if remote is None:
        return Unavailable(
            f"{target.source} does not answer, so its default branch is not known; name a ref",
            reason="REMOTE_UNREACHABLE",
        )
    names = [short_name(name) for name in sorted(remote.refs)]
    there = listed(names, _SHOWN) or "none"
    if not target.ref:
        message = f"{target.source} has no default branch; push one, or name a ref ({there})"
        return NotFound("ref", "HEAD", message)
    message = f"{target.source} has no branch or tag {target.ref!r}; there are {there}"
    return NotFound("ref", target.ref, did_you_mean(message, short_name(target.ref), names))
