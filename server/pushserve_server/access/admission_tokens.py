"""Admission tokens: what a guard lets in by, kept in step with the registry and the token file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pushserve_server.access.guard import Guard
from pushserve_server.access.token_file import TokenFile
from pushserve_server.domain.access_token import AccessToken
from pushserve_server.settings import Settings


class AdmissionTokens:
    """The tokens of one process, from where they are. Called by one thread."""

    def __init__(self, settings: Settings, guard: Guard) -> None:
        self._guard = guard
        self._file = TokenFile(Path(settings.token_file)) if settings.token_file else None
        self._issued: list[AccessToken] = []
        self._in_file: list[AccessToken] = []

    def follow(self, issued: Iterable[AccessToken]) -> None:
        """Let in by what the registry holds now."""
        self._issued = list(issued)
        self._tell()

    def look_at_file(self) -> None:
        """Let in by what the token file holds now; quick where it has not changed."""
        found = None if self._file is None else self._file.changed()
        if found is not None:
            self._in_file = found
            self._tell()

    def _tell(self) -> None:
        self._guard.follow([*self._issued, *self._in_file])
