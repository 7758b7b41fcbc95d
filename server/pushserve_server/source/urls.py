"""Clone URLs in one canonical spelling, so that comparing them means something.

    https://host[:port]/path   http://…   ssh://[user@]host[:port]/path
    user@host:path             file:///absolute/path

Canonical: scheme and host in lower case, no default port, no password (and for http no
user either), no "/" at the end, unreserved characters not percent-encoded. What a server
could read in two ways ("..", "//", an encoded "/") is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from pushserve_server.errors import BadInput, Violation

_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "ssh": 22, "file": None}
_URL: Final = re.compile(
    r"(?P<scheme>https?|ssh|file)://"
    r"(?:(?P<user>[^@/?#\\]*)@)?(?P<host>[^@/?#\\:\[\]]*|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/.*)?",
    re.IGNORECASE,
)
_SCP: Final = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[^@/?#\\:\[\]]+):(?P<path>.+)", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_HOST_PATTERN: Final = re.compile(r"[a-z0-9*](?:[a-z0-9._*-]*[a-z0-9*])?|\[[0-9a-f:.]+\]")
_USER: Final = re.compile(r"\w[\w.-]*", re.ASCII)
_PATH_CHARACTERS: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*")
_ENCODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9\-._~]")
_AMBIGUOUS: Final = re.compile(r"%(?:[01][0-9A-F]|7F|2F|5C)")
_BLANK_OR_CONTROL: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
_BETWEEN_WORDS: Final = re.compile(r"([\s'\"])")
_LONGEST: Final = 2048
_LOOKED_AT: Final = 4096
"""Of a text that is shown: what is behind so many characters may be as long as it likes."""

RIGHT_FORMS: Final = (
    "a clone URL is https://host/path, http://host/path, ssh://user@host/path, "
    "user@host:path or file:///absolute/path"
)


@dataclass(frozen=True, slots=True)
class CloneUrl:
    """A clone URL taken apart. `scheme` is "scp" for `user@host:path`, whose path is relative."""

    scheme: str
    user: str
    host: str
    port: int | None
    path: str

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        if self.scheme == "scp":
            return f"{user}{self.host}:{self.path}"
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{user}{self.host}{port}{self.path}"

    @property
    def protocol(self) -> str:
        """What git calls the transport, for GIT_ALLOW_PROTOCOL."""
        return "ssh" if self.scheme == "scp" else self.scheme

    @property
    def repository(self) -> str:
        """The path without the ".git" that hosts let people leave out."""
        return re.sub(r"(?<=[^/])\.git$", "", self.path)

    @property
    def name(self) -> str:
        """The last part of that."""
        return self.repository.rpartition("/")[2]


def parse_url(url: str, *, pattern: bool = False) -> CloneUrl:
    """Take a clone URL apart, in its canonical spelling; `pattern` allows "*" in it.

    Raises:
        BadInput: it is no clone URL, or one that can be read in two ways.
    """
    if len(url) > _LONGEST:
        raise _bad(url, f"it is longer than {_LONGEST} characters")
    if _BLANK_OR_CONTROL.search(url):
        raise _bad(url, "it holds a blank or a control character (a space is written %20)")
    parts = _take_apart(url, pattern=pattern)
    if len(str(parts)) > _LONGEST:
        raise _bad(url, f"with its characters percent-encoded it is longer than {_LONGEST}")
    return parts


def _take_apart(url: str, *, pattern: bool) -> CloneUrl:
    if match := _URL.fullmatch(url):
        return _from_url(url, match, pattern=pattern)
    if match := _SCP.fullmatch(url):
        host = _host(url, match["host"], pattern=pattern)
        path = _path(url, match["path"].rstrip("/"), pattern=pattern)
        if not path or path.startswith(("/", "-")):
            raise _bad(url, "write ssh://user@host/path for an absolute path")
        return CloneUrl("scp", match["user"], host, None, path)
    if url.startswith("/"):
        raise _bad(url, f"write file://{url} for a repository on the server's own disk")
    raise _bad(url, RIGHT_FORMS)


def normalize_url(url: str) -> str:
    """The URL in its canonical spelling, without password (for http: without user).

    Raises:
        BadInput: it is no clone URL, or one that can be read in two ways.
    """
    return str(parse_url(url))


def shown(text: str, limit: int = 200) -> str:
    """`text` fit for a message: no userinfo or query of a URL, nothing unprintable, cut short."""
    words = _BETWEEN_WORDS.split(text[:_LOOKED_AT])
    if len(text) > _LOOKED_AT:
        words[-1] = "…"  # cut off, it may be the beginning of a password
    text = "".join(map(_without_secrets, words))
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without_secrets(word: str) -> str:
    """A word without userinfo and query, if it is a URL or the like; "git@" is no secret."""
    head, separator, rest = word.partition("://")
    head = "/".join(map(_without_user, head.split("/")))
    # A password may hold a "/" or "?" that should have been encoded: all up to the last "@" goes.
    base, mark, query = _without_user(rest).partition("?")
    return head + separator + base + mark + ("…" if query else "")


def _without_user(text: str) -> str:
    user, separator, rest = text.rpartition("@")
    return text if user == "git" and separator else rest


def _bad(url: str, what: str) -> BadInput:
    return BadInput(
        f"{shown(url)!r} cannot be used as a source: {what}",
        [Violation("source", what)],
        reason="BAD_SOURCE_URL",
    )


def _from_url(url: str, match: re.Match[str], *, pattern: bool) -> CloneUrl:
    scheme = match["scheme"].lower()
    path = _path(url, (match["path"] or "").rstrip("/"), pattern=pattern)
    if not path:
        raise _bad(url, "it names no repository, only a host")
    if scheme == "file":
        if (match["host"] or "").lower() not in ("", "localhost") or match["port"] or match["user"]:
            raise _bad(url, "a file URL has three slashes: file:///absolute/path")
        return CloneUrl("file", "", "", None, path)
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise _bad(url, "a port is a number from 1 to 65535")
    user = (match["user"] or "").partition(":")[0] if scheme == "ssh" else ""
    if user and not _USER.fullmatch(user):
        raise _bad(url, "the user of an ssh URL is letters, digits, '.', '_' and '-'")
    host = _host(url, match["host"], pattern=pattern)
    return CloneUrl(scheme, user, host, None if port == _DEFAULT_PORTS[scheme] else port, path)


def _host(url: str, host: str, *, pattern: bool) -> str:
    host = host.lower()
    if not (_HOST_PATTERN if pattern else _HOST).fullmatch(host) or ".." in host:
        raise _bad(url, "its host is not a host name (write one outside ASCII as xn--…)")
    return host


def _path(url: str, path: str, *, pattern: bool) -> str:
    path = _ENCODED.sub(_decode_unreserved, path)
    path = quote(path, safe="%/-._~!$&'()*+,;=:@?#\\\"<>[]^`{|}")
    if not _PATH_CHARACTERS.fullmatch(path):
        raise _bad(url, "its path holds a character that a URL's path may not hold")
    if _AMBIGUOUS.search(path):
        raise _bad(url, "its path holds an encoded slash, backslash or control character")
    if "*" in path and not pattern:
        raise _bad(url, '"*" stands only in the operator\'s patterns')
    segments = path.split("/")
    if any(segment in (".", "..") for segment in segments) or "" in segments[1:]:
        raise _bad(url, 'its path holds ".", ".." or "//"; write the path out')
    return path


def _decode_unreserved(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()
