"""Captured output: what user code prints and warns of, for the build's report."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from pushserve_runtime.build_error import printable
from pushserve_sandbox.compat import MISMATCH_START, VersionMismatch, version_mismatch

LOG_LIMIT = 8 * 1024
WARNINGS_LIMIT = 20


class Tail(io.TextIOBase):
    """A text stream that keeps the last `limit` characters written to it, and passes all on."""

    def __init__(self, limit: int = LOG_LIMIT) -> None:
        super().__init__()
        self._limit = limit
        self._text = ""
        self.also: TextIO | None = None

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Append, and forget what is too far back."""
        if self.also is not None:
            self.also.write(text)
        self._text = (self._text + text)[-self._limit :]
        return len(text)

    @property
    def text(self) -> str:
        """What was kept."""
        return self._text


class Notes:
    """What user code printed and warned of while `taken()` was entered."""

    def __init__(self) -> None:
        self.log = Tail()
        self.warnings: list[str] = []
        self.version_mismatch: VersionMismatch | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Send prints to `log` too and warnings to `warnings`, also when the block raises."""
        stdout, stderr = sys.stdout, sys.stderr
        if stdout is not self.log:
            self.log.also = stdout
        sys.stdout = sys.stderr = self.log
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("default")
                warnings.filterwarnings("always", MISMATCH_START)
                warnings.filterwarnings("ignore", "X does not have valid feature names")  # ours
                try:
                    yield
                finally:
                    self._note(caught)
        finally:
            sys.stdout, sys.stderr = stdout, stderr

    def _note(self, caught: list[warnings.WarningMessage]) -> None:
        for item in caught:
            self.version_mismatch = self.version_mismatch or version_mismatch(item.message)
            text = f"{item.category.__name__}: {printable(str(item.message))}"
            if text not in self.warnings and len(self.warnings) < WARNINGS_LIMIT:
                self.warnings.append(text)
