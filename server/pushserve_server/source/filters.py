"""Filters: which refs and folders of a source are deployed, by the operator's globs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from pushserve_server.errors import SourceRefused
from pushserve_server.settings import SourceRule

_NOT: Final = "!"
_ROOT: Final = "."


def deploys_ref(rule: SourceRule, ref: str) -> bool:
    """Say whether a full ref passes the rule's globs."""
    return _passes(_names(ref), rule.refs)


def finds_ref(rule: SourceRule, ref: str) -> bool:
    """Say whether a glob of the rule asks for a ref that nobody has registered."""
    return any(not glob.startswith(_NOT) for glob in rule.refs) and deploys_ref(rule, ref)


def deploys_path(rule: SourceRule, path: str) -> bool:
    """Say whether a folder passes the rule's globs; "" is the root."""
    return _passes((path or _ROOT,), rule.paths)


def check_ref(rule: SourceRule, source: str, ref: str) -> None:
    """Let pass what the rule deploys.

    Raises:
        SourceRefused: REF_NOT_DEPLOYED.
    """
    if not deploys_ref(rule, ref):
        raise _refused("REF_NOT_DEPLOYED", f"{ref} of {source}", "refs", rule.refs)


def check_path(rule: SourceRule, source: str, path: str) -> None:
    """Let pass the folders that the rule deploys.

    Raises:
        SourceRefused: PATH_NOT_DEPLOYED.
    """
    if not deploys_path(rule, path):
        what = f"{path or 'the root'} of {source}"
        raise _refused("PATH_NOT_DEPLOYED", what, "paths", rule.paths)


def _refused(reason: str, what: str, setting: str, globs: Sequence[str]) -> SourceRefused:
    listed = ", ".join(f'"{glob}"' for glob in globs)
    return SourceRefused(
        f"{what} is not deployed: the operator's list of sources says {setting} = [{listed}]",
        reason=reason,
    )


def _passes(names: Iterable[str], globs: Sequence[str]) -> bool:
    names = tuple(names)
    within = [glob for glob in globs if not glob.startswith(_NOT)]
    without = [glob.removeprefix(_NOT) for glob in globs if glob.startswith(_NOT)]
    return (not within or _any(names, within)) and not _any(names, without)


def _any(names: Sequence[str], globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def _names(ref: str) -> tuple[str, str, str]:
    """Give what globs may call a ref: "main", "heads/main", "refs/heads/main"."""
    kind = ref.removeprefix("refs/")
    return kind.partition("/")[2], kind, ref
