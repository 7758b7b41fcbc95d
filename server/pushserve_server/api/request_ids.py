"""Request ids: taken from the caller where they are fit to be shown, else made."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final

from pushserve_server.api.transport.call import REQUEST_ID, Metadata

_FIT: Final = re.compile(r"[!-~]{1,128}")
"""Printable ASCII: they go into headers and logs."""


class RequestIds:
    """Makes ids that no other process makes: a random start, and a number."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def of(self, metadata: Metadata) -> str:
        """Give the id of a call with this metadata."""
        for key, value in metadata:
            if key == REQUEST_ID and isinstance(value, str) and _FIT.fullmatch(value):
                return value
        return f"{self._start}-{next(self._numbers):x}"
