"""Remote refs: where a remote's branches and tags point."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Final

from pushserve_server.domain.ref_names import full_names
from pushserve_server.source.command import Budget, GitFailed, OutOfTime, TooMuchOutput, run_git
from pushserve_server.source.failures import explained
from pushserve_server.source.urls import parse_url

_KINDS: Final = ("refs/heads/", "refs/tags/")
_MOST_REFS: Final = 100_000
"""Branches and tags, of about 250 bytes each."""
_LONGEST_LINE: Final = 8192
_OBJECT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """A remote's branches and tags: full name to commit (an annotated tag's is peeled).

    `head` is the full name of the remote's default branch, None when it has none. `tag_objects`
    are annotated tags' own ids, each with its commit.
    """

    head: str | None
    refs: dict[str, str]
    tag_objects: dict[str, str] = field(default_factory=dict)


def list_refs(url: str, *, timeout: float, cancelled: threading.Event) -> RemoteRefs:
    """Ask the remote where its branches and tags point. `timeout` is in seconds.

    Raises:
        BadInput: `url` is no clone URL.
        Unavailable: with reason REMOTE_UNREACHABLE; trying again may help.
        DeploymentFailed: REPOSITORY_NOT_FOUND: it is missing, or not readable by this server;
            REPOSITORY_TOO_LARGE: it has more branches and tags than are looked at.
        Cancelled: the event was set.
    """
    parts = parse_url(url)
    arguments = ["ls-remote", "--symref", "--end-of-options", str(parts)]
    budget = Budget.within(timeout, cancelled)
    reader = RefReader()
    try:
        run_git(arguments, budget, protocol=parts.protocol, sink=reader.feed)
    except (GitFailed, OutOfTime, TooMuchOutput) as error:
        raise explained(error, url) from None
    return reader.refs()


class RefReader:
    """Takes what `ls-remote --symref` writes, in pieces; keeps branches and tags, nothing else.

    Raises:
        TooMuchOutput: from `feed`: more branches and tags than are looked at, or a line that is
            no ref's.
    """

    def __init__(self) -> None:
        self._head: str | None = None
        self._refs: dict[str, str] = {}
        self._tag_objects: dict[str, str] = {}
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece; an empty one is the end."""
        *lines, self._rest = (self._rest + (chunk or b"\n")).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._refs) > _MOST_REFS or len(self._rest) > _LONGEST_LINE:
            raise TooMuchOutput

    def refs(self) -> RemoteRefs:
        """What was read."""
        head = self._head if self._head in self._refs else None
        return RemoteRefs(head, self._refs, self._tag_objects)

    def _take(self, line: bytes) -> None:
        value, _, name = line.decode(errors="replace").partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            self._head = value.removeprefix("ref: ")
        elif name.startswith(_KINDS) and _OBJECT.fullmatch(value):
            # "refs/tags/v1^{}", the tag peeled, follows "refs/tags/v1".
            full = name.removesuffix("^{}")
            if full != name and full in self._refs:
                self._tag_objects[self._refs[full]] = value
            self._refs[full] = value


def resolve(remote: RemoteRefs, name: str) -> tuple[str, str] | None:
    """The full name and commit of a ref: full ("refs/tags/v1") or short ("v1"; heads first).

    "HEAD" is the remote's default branch. None when there is no such ref.
    """
    candidates = (remote.head or "",) if name == "HEAD" else full_names(name)
    for full in candidates:
        if full in remote.refs:
            return full, remote.refs[full]
    return None
