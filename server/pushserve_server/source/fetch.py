"""Fetching one commit, and asking whether a branch or tag reaches it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from pushserve_server.errors import BadInput, DeploymentFailed, Violation
from pushserve_server.source.command import Budget, GitFailed, OutOfTime, TooMuchOutput, git_output
from pushserve_server.source.failures import cause, explained
from pushserve_server.source.mirror import (
    Mirror,
    locked_folder,
    mirror_key,
    open_new,
    open_newest,
)
from pushserve_server.source.tree import Tree
from pushserve_server.source.urls import CloneUrl, parse_url, shown

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LARGEST_HISTORY: Final = 1024**3
_SMALLEST_PACK: Final = 64 * 1024**2

T = TypeVar("T")


def fetch_commit(
    url: str,
    commit: str,
    *,
    cache_dir: Path,
    max_blob: int,
    timeout: float,
    cancelled: threading.Event,
    max_pack: int | None = None,
) -> Tree:
    """Fetch one commit, without history and without files over `max_blob` bytes.

    What the remote sends is bounded by `max_pack` bytes (compressed; unless given, twice
    `max_blob` and at least 64 MiB), also where it ignores the filter. `timeout` is in seconds.
    What is here already is not fetched again. The caller closes the tree.

    Raises:
        BadInput: `url` is no clone URL or `commit` no full commit id.
        Unavailable: REMOTE_UNREACHABLE, SERVER_DISK_FULL; trying again may help.
        DeploymentFailed: REPOSITORY_NOT_FOUND, COMMIT_NOT_FOUND, REPOSITORY_TOO_LARGE,
            REPOSITORY_CORRUPT.
        Cancelled: the event was set.
    """
    remote = parse_url(url)
    _check_commit(commit)
    budget = Budget.within(timeout, cancelled, max_pack or max(2 * max_blob, _SMALLEST_PACK))

    def attempt(mirror: Mirror) -> Tree:
        _fetch_one(mirror, remote, commit, max_blob, budget)
        return Tree(mirror, commit, budget, timeout)

    return _with_mirror(remote, f"files {max_blob}", cache_dir, budget, attempt)


def is_reachable(
    url: str,
    commit: str,
    *,
    cache_dir: Path,
    timeout: float,
    cancelled: threading.Event,
    max_pack: int = _LARGEST_HISTORY,
) -> bool:
    """Whether a branch or tag of the remote reaches the commit. Fetches history without files.

    Raises:
        BadInput, Unavailable, DeploymentFailed, Cancelled: as `fetch_commit`.
    """
    remote = parse_url(url)
    _check_commit(commit)
    budget = Budget.within(timeout, cancelled, max_pack)

    def attempt(mirror: Mirror) -> bool:
        with mirror:
            _fetch_history(mirror, remote, budget)
            return _contains(mirror, commit, budget)

    return _with_mirror(remote, "history", cache_dir, budget, attempt)


def _check_commit(commit: str) -> None:
    if not _COMMIT.fullmatch(commit):
        right = "a commit is 40 hexadecimal digits in lower case, as `git rev-parse HEAD` prints"
        raise BadInput(f"{shown(commit)!r}: {right}", [Violation("commit", right)])


def _with_mirror(
    remote: CloneUrl,
    purpose: str,
    cache_dir: Path,
    budget: Budget,
    attempt: Callable[[Mirror], T],
) -> T:
    """Try with the mirror there is; with an empty one if that fails for a reason of its own."""
    url = str(remote)
    try:
        with locked_folder(cache_dir, mirror_key(url, purpose), budget) as folder:
            mirror = open_newest(folder, budget.file_size)
            if mirror is not None:
                try:
                    return _attempt(attempt, mirror)
                except GitFailed as error:
                    if cause(error) is not None:
                        raise
                    mirror.mark_broken()
            return _attempt(attempt, open_new(folder, url, budget))
    except (GitFailed, OutOfTime, TooMuchOutput) as error:
        raise explained(error, url) from None


def _attempt(attempt: Callable[[Mirror], T], mirror: Mirror) -> T:
    try:
        return attempt(mirror)
    except BaseException:
        mirror.close()
        raise


def _fetch_one(
    mirror: Mirror, remote: CloneUrl, commit: str, max_blob: int, budget: Budget
) -> None:
    # The ref keeps the commit, so that the next fetch brings only what differs from it.
    ref = f"refs/pushserve/{commit}"
    if _holds(mirror, ref, budget):
        return
    # The filter leaves out blobs of that size too.
    options = ["--depth=1", "--no-tags", f"--filter=blob:limit={max_blob + 1}"]
    _fetch(mirror, remote, [*options, "--end-of-options", "origin", f"+{commit}:{ref}"], budget)
    if _holds(mirror, ref, budget):
        return
    peeled = _commit_of(mirror, ref, budget)
    raise DeploymentFailed(
        "COMMIT_NOT_FOUND",
        f"{commit} of {remote} is not a commit" + (f" but a tag of {peeled}" if peeled else ""),
        f"Register that commit ({peeled})."
        if peeled
        else "Register a branch, or a tag that points at a commit.",
    )


def _fetch_history(mirror: Mirror, remote: CloneUrl, budget: Budget) -> None:
    options = ["--prune", "--no-tags", "--filter=tree:0", "--end-of-options"]
    refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    _fetch(mirror, remote, [*options, "origin", *refs], budget)


def _fetch(mirror: Mirror, remote: CloneUrl, arguments: list[str], budget: Budget) -> None:
    command = ["fetch", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules", *arguments]
    try:
        git_output(command, budget, git_dir=mirror.git_dir, protocol=remote.protocol)
    except GitFailed as error:
        if mirror.has_cut_pack(budget.file_size):  # git does not say why its child died
            raise TooMuchOutput from error
        raise


def _holds(mirror: Mirror, ref: str, budget: Budget) -> bool:
    """Whether a ref, which ends with a commit's id, leads to that commit itself."""
    return ref.endswith(f"/{_commit_of(mirror, ref, budget)}")


def _commit_of(mirror: Mirror, ref: str, budget: Budget) -> str:
    """Give the commit that a ref leads to, through tags too; "" where it leads to none."""
    command = ["rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}"]
    try:
        return git_output(command, budget, git_dir=mirror.git_dir).decode().strip()
    except GitFailed:
        return ""


def _contains(mirror: Mirror, commit: str, budget: Budget) -> bool:
    command = ["for-each-ref", "--count=1", "--format=%(refname)", f"--contains={commit}"]
    command += ["refs/heads", "refs/tags"]
    try:
        return bool(git_output(command, budget, git_dir=mirror.git_dir).strip())
    except GitFailed as error:
        if "no such commit" in error.stderr or "malformed object name" in error.stderr:
            return False
        raise
