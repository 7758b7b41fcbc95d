"""Database trouble: in a few words, why a database cannot be used.

Nothing of what the database's own library says is shown: it names hosts, files and parts of URLs.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from typing import Final

from playhouse.pool import MaxConnectionsExceeded

_SQLITE: Final = {
    sqlite3.SQLITE_NOTADB: "its file is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_READONLY: "its file, or the folder of it, cannot be written",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened: is the folder there, and this user's?",
    sqlite3.SQLITE_PERM: "its file is not this user's",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "its disk fails",
    sqlite3.SQLITE_BUSY: "another process has been writing to it for long",
}
"""By SQLite's primary result codes."""
_PRIMARY: Final = 0xFF

_STATES: Final = {
    "28": "it refuses the user or the password",
    "3D": "there is no database of that name",
    "42501": "its user may not do that",
    "25006": "it only takes reads",
    "53100": "its disk is full",
    "53300": "it has as many connections as it takes",
    "57P0": "it is starting or stopping",
}
"""By PostgreSQL's SQLSTATE, or the beginning of it."""

_WORDS: Final = {
    "starting up": _STATES["57P0"],
    "shutting down": _STATES["57P0"],
    "password authentication failed": _STATES["28"],
    "no password supplied": "it asks for a password, and the URL has none",
    "no pg_hba.conf entry": "it does not let this machine or user in",
    'role "': _STATES["28"],
    'database "': _STATES["3D"],
    "too many c": _STATES["53300"],
    "Connection refused": "nothing answers at its address",
    "No such file or directory": "nothing answers at its address",
    "failed to resolve": "its host name is not known",
    "could not translate host name": "its host name is not known",
    "timeout": "its host does not answer",
    "No route to host": "its host cannot be reached",
    "unreachable": "its host cannot be reached",
    "certificate": "TLS with it fails",
    "SSL ": "TLS with it fails",
    "invalid": "its URL cannot be read: percent-encode what is special in user and password",
}
"""By what PostgreSQL's library says where a connection fails, which has no SQLSTATE."""

_ERRNO: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "its file, or the folder of it, cannot be written",
    errno.EACCES: "its file is not this user's",
}


def trouble(error: BaseException) -> str:
    """Say what is wrong; "" where that is not known."""
    if isinstance(error, MaxConnectionsExceeded):
        return "all of this process's connections to it are in use"
    return next(filter(None, map(_said, _causes(error))), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _said(error: BaseException) -> str:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return "" if code is None else _SQLITE.get(code & _PRIMARY, "")
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, "")
    state = getattr(error, "sqlstate", None)
    if state:
        return next((said for begin, said in _STATES.items() if state.startswith(begin)), "")
    text = str(error)
    return next((said for words, said in _WORDS.items() if words in text), "")
