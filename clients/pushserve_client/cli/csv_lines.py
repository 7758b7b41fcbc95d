"""CSV lines: text to cells, whatever separates them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container, Iterator
from typing import Final, NamedTuple

from pushserve_client.cli.text_files import MOST
from pushserve_client.errors import BadData

NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SPELLED: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
_EXCEL: Final = re.compile(r'"?sep=(.)"?\r?\n?')
_LOOKED_AT: Final = 20
"""Lines that tell the separator."""


class Line(NamedTuple):
    """The cells of one record, and the line of the text that it starts on, from 1."""

    number: int
    cells: list[str]


def read_lines(text: str, separator: str) -> Iterator[Line]:
    """Yield the records that are not empty.

    Raises:
        BadData: a quote is not closed, or something stands behind one.
    """
    csv.field_size_limit(MOST)  # its own is 128 KiB; the text's length is a limit already
    # As they are: a line may end by CR alone, and a quoted cell may hold any line end.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield Line(start, cells)
            start = reader.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error)
        raise BadData(f"the input is no CSV: line {start}: {what}") from None


def asked_separator(text: str) -> str:
    """Give the separator that somebody named: itself, or "tab", "semicolon", ….

    Raises:
        BadData: it is not one character.
    """
    separator = _SPELLED.get(text.lower(), text)
    if len(separator) != 1 or separator in '"\r\n ':
        raise BadData(f"a separator is one character, such as ';' or tab, not {text!r}")
    return separator


def without_excels_line(text: str) -> tuple[str, str]:
    """Give the text without a first line of "sep=;", and what that line names."""
    found = _EXCEL.match(text)
    return (text[found.end() :], found[1]) if found else (text, "")


def find_separator(text: str, known: Container[str]) -> str:
    """Find what separates the cells: what makes the header name most of the columns `known`.

    Where that decides nothing, what gives the first lines the same number of cells, over one.
    """
    scores = {separator: _score(text, separator, known) for separator in NAMES}
    best = max(scores.values())
    return next(separator for separator, score in scores.items() if score == best)


def _score(text: str, separator: str, known: Container[str]) -> tuple[int, int]:
    lines = []
    try:
        for line in read_lines(text, separator):
            lines.append(line.cells)
            if len(lines) == _LOOKED_AT:
                break
    except BadData:
        return 0, 0
    header = lines[0] if lines else []
    widths = {len(cells) for cells in lines}
    is_even = len(widths) == 1 and len(header) > 1
    return sum(name.strip() in known for name in header), len(header) if is_even else 0
