"""Closest name: what somebody may have meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

_COMPARED: Final = 50
"""Names that are looked at closely; each takes some 20 us, and a server may have thousands."""


def did_you_mean(text: str, name: str, known: Iterable[str]) -> str:
    """Give an error's text, with the known name that is closest to the one given, if any is.

    `text` is a phrase without a full stop: "there is no model 'irs'" becomes "there is no model
    'irs'. Did you mean 'iris'?"
    """
    found = closest_name(name, known)
    return f"{text}. Did you mean {found!r}?" if found else text


def closest_name(name: str, known: Iterable[str]) -> str:
    """Give the known name that is closest to `name`, "" where none is close."""
    plain = {item.lower(): item for item in islice(_alike(name, known), _COMPARED)}
    found = get_close_matches(name.lower(), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else ""


def _alike(name: str, known: Iterable[str]) -> Iterable[str]:
    """Leave out what is of another length, or neither begins nor ends as the name does."""
    ends = name[:1].lower(), name[-1:].lower()
    size, slack = len(name), max(2, len(name) // 3)
    for item in known:
        if abs(len(item) - size) <= slack and item != name:
            pairs = zip(ends, (item[:1].lower(), item[-1:].lower()), strict=True)
            if any(given == there for given, there in pairs):
                yield item
