"""Running line: what a deployment does just now, and for how long it has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.text import Text

from pushserve_client.cli import screen

if TYPE_CHECKING:
    from typing_extensions import Self


class RunningLine:
    """Turns at the bottom of a terminal; elsewhere nothing of it is printed."""

    def __init__(self, console: Console) -> None:
        self._text = ""
        self._since = time.monotonic()
        self._status = Status(self, console=console, spinner="line")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, text: str) -> None:
        """Show another text, with the seconds since the line began."""
        self._text = " ".join(screen.clean(text).split())

    def __rich__(self) -> Text:
        seconds = int(time.monotonic() - self._since)
        return Text(f"{seconds} s  {self._text}", no_wrap=True, overflow="ellipsis")
