"""Spellings: which clone URLs name one repository, so that it is one source.

A host serves a repository by https, by ssh and in ssh's short form, with and without ".git";
events name it by https even where the server reads it by ssh. Well-known hosts ignore the case
of its path too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pushserve_server.source.urls import CloneUrl, parse_url

_WEB: Final = ("http", "https")
_IGNORE_CASE: Final = frozenset(
    {"github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gitea.com"}
)
_EVERYBODY: Final = "git"
"""Whom a host's ssh has all people be: their keys say who they are."""


def same_repository(one: CloneUrl, other: CloneUrl) -> bool:
    """Say whether two canonical URLs name one repository."""
    if "file" in (one.scheme, other.scheme):
        return (one.scheme, one.repository) == (other.scheme, other.repository)
    if one.host != other.host or _path(one) != _path(other):
        return False
    if _is_web(one) and _is_web(other):
        return one.port == other.port
    if not _is_web(one) and not _is_web(other):
        return (one.user, one.port) == (other.user, other.port)
    by_ssh = other if _is_web(one) else one
    # Other users may have repositories of their own below their home folders.
    return by_ssh.user == _EVERYBODY or by_ssh.host in _IGNORE_CASE


def known_spelling(url: str, known: Iterable[str]) -> str:
    """Give the one of the known URLs, canonical ones, that names the same repository; "" if none.

    Raises:
        BadInput: `url` is no clone URL.
    """
    parts = parse_url(url)
    same = [each for each in known if same_repository(parts, parse_url(each))]
    return str(parts) if str(parts) in same else next(iter(same), "")


def respelt(url: CloneUrl, pattern: CloneUrl) -> CloneUrl:
    """Give a URL with scheme, user and port of a pattern; its path absolute or not, as there."""
    path = url.path.lstrip("/")
    if pattern.scheme != "scp":
        path = f"/{path}"
    return CloneUrl(pattern.scheme, pattern.user, url.host, pattern.port, path)


def _is_web(url: CloneUrl) -> bool:
    return url.scheme in _WEB


def _path(url: CloneUrl) -> str:
    path = url.repository.lstrip("/")
    return path.lower() if url.host in _IGNORE_CASE else path
