"""Token file: tokens that may do everything, in a file of the operator's.

It is how the first caller gets in where nobody is at the server's terminal: the server makes the
file, or the operator mounts one. A token counts for as long as it stands in the file.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from pushserve_server.access.file_stamp import FileStamp, file_stamp
from pushserve_server.domain.access_token import (
    ID_PART,
    AccessToken,
    Scope,
    digest_of,
    is_token,
    new_token,
)
from pushserve_server.settings import ConfigError

logger = logging.getLogger(__name__)

_MOST: Final = 64 * 1024
_NAME: Final = "token file"


class TokenFile:
    """The file, and what was read of it last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: FileStamp | None = None

    def make(self) -> bool:
        """Make it with one new token where there is none; say whether it was made.

        Raises:
            ConfigError: it cannot be made.
        """
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        except OSError as error:
            raise ConfigError(
                f"token_file: {self._path} cannot be made: {error.strerror}"
            ) from None
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{new_token()}\n")
        return True

    def read(self) -> list[AccessToken]:
        """Give its tokens. Empty lines, and those that begin with #, count for nothing.

        Raises:
            ConfigError: it cannot be read, is open to others, or a line is no token.
        """
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(_MOST).decode("ascii", errors="replace")
        except OSError as error:
            raise ConfigError(
                f"token_file: {self._path} cannot be read: {error.strerror}"
            ) from None
        if mode & stat.S_IRWXO:
            raise ConfigError(
                f"token_file: {self._path} is open to every user of this machine; "
                f"chmod 600 {self._path}"
            )
        lines = [line.strip() for line in text.splitlines()]
        return [
            self._token(number, line)
            for number, line in enumerate(lines, 1)
            if line and not line.startswith("#")
        ]

    def _token(self, number: int, line: str) -> AccessToken:
        if not is_token(line):
            raise ConfigError(
                f"token_file: line {number} of {self._path} is no token; remove the file, and the "
                "server makes one with a token in it"
            )
        return AccessToken(line[ID_PART], _NAME, digest_of(line), frozenset({Scope.ADMIN}))

    def changed(self) -> list[AccessToken] | None:
        """Give its tokens where it has changed since this was asked before.

        One that is gone or no good has none: whoever takes a token out wants it to count no more.
        """
        stamp = file_stamp(self._path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return self.read()
        except ConfigError as error:
            logger.error("%s; none of its tokens counts", error)  # noqa: TRY400 (no trace helps)
            return []
