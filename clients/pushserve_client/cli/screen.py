"""Screen: how the command prints tables, JSON, errors. Plain where nobody looks at it."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from pushserve_client.cli.tables import print_table

_WIDE: Final = 100_000
"""Columns of a screen that is a file or a pipe: nothing is cut or wrapped there."""


def output() -> Console:
    """Give the console for results."""
    return _console(stderr=False)


def errors() -> Console:
    """Give the console for errors and remarks."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def clean(value: object) -> str:
    """Give text without control characters: names and messages come from repositories."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(value))


def say(message: str = "", style: str = "", console: Console | None = None) -> None:
    """Print a line of the result; `console` is the one that has something at its bottom."""
    _print(console or output(), message, style)


def copyable(line: str) -> None:
    """Print a line for somebody's shell: on a screen, too, it is one line, whatever its length."""
    output().print(Text(clean(line)), soft_wrap=True)


def remark(message: str) -> None:
    """Print a line beside the result, which a pipe does not get; "" prints nothing."""
    if message:
        _print(errors(), message, "dim")


def fail(message: str, fix: str = "") -> None:
    """Print what is wrong (a phrase) in one red line, and what to do about it (sentences)."""
    _print(errors(), f"error: {message}", "bold red")
    if fix:
        _print(errors(), fix)


def _print(console: Console, message: str, style: str = "") -> None:
    """Print text; on a screen it is broken between words, and a longer word stays whole."""
    text = clean(message)
    if console.is_terminal:
        text = "\n".join(broken(line, console.width) for line in text.split("\n"))
    console.print(Text(text, style=style), soft_wrap=True)


def broken(line: str, width: int) -> str:
    """Break a line between words; the next ones begin as far in as it does."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns; a cell is one line, empty cells stay empty."""
    cells = [[" ".join(clean(cell).split()) for cell in row] for row in rows]
    print_table(output(), titles, cells)


def print_json(value: object) -> None:
    """Print values as JSON that every reader takes: NaN is null, times are ISO 8601."""
    is_plain = "utf" not in (sys.stdout.encoding or "").lower()
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=is_plain, allow_nan=False)
    output().print(Text(text), soft_wrap=True)


def jsonable(value: Any) -> Any:
    """Give `value` (dataclasses, mappings, sequences, enums) as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, str) else value


def moment(value: datetime | None) -> str:
    """Give a time in this machine's zone, "" for none."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""


def short_ref(name: str) -> str:
    """Give "main" for "refs/heads/main"; a tag keeps "tags/", as a branch may share its name."""
    return name.removeprefix("refs/heads/").removeprefix("refs/")
