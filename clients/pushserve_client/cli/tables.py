"""Tables: rows in columns, as wide as the screen; tabs and one line a row where nobody looks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP: Final = 2
_LEAST: Final = 16
"""Columns of the screen below which a column is not made narrower."""


def print_table(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, which hold no line ends.

    A screen that is too narrow gets the longest columns in several lines, broken between words;
    one that is narrower still gets each row as a block. A pipe gets tabs.
    """
    if not console.is_terminal:
        for row in (titles, *rows):
            console.file.write("\t".join(row).rstrip("\t") + "\n")
        return
    widths = _widths(titles, rows, console.width)
    if widths is None:
        lines, bold = _blocks(titles, rows, console.width), False
    else:
        lines, bold = _lines([titles, *rows], widths), True
    for number, line in enumerate(lines):
        style = "bold" if bold and number == 0 else ""
        console.print(Text(line, style=style), soft_wrap=True)


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Give the columns' widths, the widest made narrower until all fit; None: they cannot."""
    columns = list(zip(titles, *rows))
    widths = [max(map(cell_len, column)) for column in columns]
    # Words stay whole: no column may be narrower than its longest.
    least = [
        min(
            full,
            max(_LEAST, *(cell_len(word) for cell in column for word in (cell.split() or [""]))),
        )
        for full, column in zip(widths, columns)
    ]
    over = sum(widths) + _GAP * (len(widths) - 1) - width
    while over > 0:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        spare = widths[widest] - least[widest]
        if spare <= 0:
            return None
        taken = min(over, spare)
        widths[widest] -= taken
        over -= taken
    return widths


def _lines(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    lines = []
    for row in rows:
        parts = [_wrapped(cell, width) for cell, width in zip(row, widths)]
        for i in range(max(map(len, parts))):
            cells = [part[i] if i < len(part) else "" for part in parts]
            line = (" " * _GAP).join(
                cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths)
            )
            lines.append(line.rstrip())
    return lines


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Each row as lines of title and cell; empty cells are left out."""
    indent = max(map(cell_len, titles)) + _GAP
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for title, cell in zip(titles, row):
            first, *others = _wrapped(cell, max(_LEAST, width - indent))
            if cell:
                lines.append(title + " " * (indent - cell_len(title)) + first)
                lines += [" " * indent + other for other in others]
    return lines


def _wrapped(cell: str, width: int) -> list[str]:
    """A cell in lines, broken between words alone."""
    if cell_len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
