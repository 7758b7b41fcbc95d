"""Decisions of the deployer, apart from carrying them out: pure functions on plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pushserve_server.domain.pauses import growing_pause

FRONTEND_TTL: Final = 5.0
"""A frontend without a heartbeat for this long is taken for dead, in seconds."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


@dataclass(frozen=True, slots=True)
class GoOn:
    """Take this commit live; `moved` where the remote has another than the row has."""

    commit: str
    moved: bool


@dataclass(frozen=True, slots=True)
class Retire:
    """The ref is gone from the remote: stop serving it."""


@dataclass(frozen=True, slots=True)
class CheckReachable:
    """A bare commit: take it live if some branch or tag reaches it."""

    commit: str


def after_resolving(
    ref: str, commit: str, remote: Mapping[str, str]
) -> GoOn | Retire | CheckReachable:
    """Decide what a deployment is about, given where the remote's refs are now."""
    if not ref:
        tips = commit in remote.values()
        return GoOn(commit, moved=False) if tips else CheckReachable(commit)
    found = remote.get(ref)
    if found is None:
        return Retire()
    return GoOn(found, moved=bool(commit) and found != commit)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Some frontends have not loaded the version yet."""

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every live frontend has loaded it."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A frontend could not load it."""

    frontend: str
    error: str


def after_loads(
    live: Sequence[str], loads: Mapping[str, str | None]
) -> Waiting | Loaded | LoadFailed:
    """Judge what the frontends say of a version: id to None (loaded) or the error.

    With no live frontend there is nobody to wait for: one that starts loads first.
    """
    for frontend in live:
        error = loads.get(frontend)
        if error is not None:
            return LoadFailed(frontend, error)
    missing = tuple(frontend for frontend in live if frontend not in loads)
    return Waiting(missing) if missing else Loaded()


def behind(live: Sequence[tuple[str, int]], generation: int) -> tuple[str, ...]:
    """Give the live frontends that do not yet answer by `generation`."""
    return tuple(frontend for frontend, applied in live if applied < generation)


def pause_before(attempt: int) -> float:
    """Seconds to wait before the attempt after number `attempt` (from 1): doubled, bounded."""
    return growing_pause(attempt, _FIRST_PAUSE, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class RefAt:
    """A deployment to make: the remote has this ref at `commit`, "" where it is gone."""

    ref: str
    commit: str


def registrations(seen: Mapping[str, str], remote: Mapping[str, str]) -> tuple[RefAt, ...]:
    """Compare the refs of one folder as last seen (full name to commit) with the remote's."""
    return tuple(
        RefAt(ref, remote.get(ref, ""))
        for ref, commit in sorted(seen.items())
        if remote.get(ref, "") != commit
    )


def steps_to(
    wanted: RefAt, default_ref: str, head: str | None, remote: Mapping[str, str]
) -> tuple[RefAt, ...]:
    """Give the deployments to make, each when the one before has ended.

    A default branch that is gone was most likely renamed: the remote's new one is served first, so
    that calls that name no ref are answered all the time.

    Args:
        wanted: Where the remote has a ref that was seen elsewhere.
        default_ref: The ref that answers calls that name none, or "".
        head: The remote's default branch, if it has one.
        remote: The remote's refs, full name to commit.
    """
    if wanted.commit or wanted.ref != default_ref or head is None:
        return (wanted,)
    return RefAt(head, remote[head]), wanted
