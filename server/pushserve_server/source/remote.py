"""Remote refs: where a remote's branches and tags point."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Final

from pushserve_server.source.command import Budget, GitFailed, OutOfTime, TooMuchOutput, git_output
from pushserve_server.source.failures import explained
from pushserve_server.source.urls import parse_url

_KINDS: Final = ("refs/heads/", "refs/tags/")
_OBJECT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """A remote's branches and tags: full name to commit (an annotated tag's is peeled).

    `head` is the full name of the remote's default branch, None when it has none.
    """

    head: str | None
    refs: dict[str, str]


def list_refs(url: str, *, timeout: float, cancelled: threading.Event) -> RemoteRefs:
    """Ask the remote where its branches and tags point. `timeout` is in seconds.

    Raises:
        BadInput: `url` is no clone URL.
        Unavailable: with reason REMOTE_UNREACHABLE; trying again may help.
        DeploymentFailed: REPOSITORY_NOT_FOUND: it is missing, or not readable by this server.
        Cancelled: the event was set.
    """
    parts = parse_url(url)
    arguments = ["ls-remote", "--symref", "--end-of-options", str(parts)]
    budget = Budget.within(timeout, cancelled)
    try:
        output = git_output(arguments, budget, protocol=parts.protocol)
    except (GitFailed, OutOfTime, TooMuchOutput) as error:
        raise explained(error, url) from None
    return parse_refs(output)


def parse_refs(output: bytes) -> RemoteRefs:
    """Read what `ls-remote --symref` wrote; refs that are neither branch nor tag are left out."""
    head = None
    refs: dict[str, str] = {}
    for line in output.decode(errors="replace").split("\n"):
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            head = value.removeprefix("ref: ")
        elif name.startswith(_KINDS) and _OBJECT.fullmatch(value):
            # "refs/tags/v1^{}", the tag peeled, follows "refs/tags/v1".
            refs[name.removesuffix("^{}")] = value
    return RemoteRefs(head if head in refs else None, refs)


def resolve(remote: RemoteRefs, name: str) -> tuple[str, str] | None:
    """The full name and commit of a ref: full ("refs/tags/v1") or short ("v1"; heads first).

    "HEAD" is the remote's default branch. None when there is no such ref.
    """
    if name == "HEAD":
        candidates = [remote.head or ""]
    elif name.startswith("refs/"):
        candidates = [name]
    else:
        candidates = [f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}"]
    for full in candidates:
        if full in remote.refs:
            return full, remote.refs[full]
    return None
