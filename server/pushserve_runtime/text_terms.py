r"""Text terms: texts taken apart as scikit-learn's vectorizers do, for a graph that counts them.

No operator of ONNX knows Python's letters (`str.lower`, the `\w` of `re`), so this part of a
compiled model is Python of ours. A graph's metadata says with which of a few settings; a
pattern of a repository's own never runs here. Needs the standard library and NumPy alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

TERMS_KEY: Final = "pushserve.terms"
"""A graph's metadata under this key is what its last inputs are made of, as `to_metadata` says."""
PATTERNS: Final = frozenset(
    {
        r"(?u)\b\w\w+\b",
        r"(?u)\b\w+\b",
        r"\b\w\w+\b",
        r"\b\w+\b",
        r"(?u)\w+",
        r"(?u)\w\w+",
        r"\w+",
        r"\w\w+",
        r"\w{1,}",
        r"\w{2,}",
        r"\b\w{2,}\b",
        r"\S+",
        r"[a-zA-Z]+",
        r"\b[a-zA-Z]+\b",
        r"[a-z]+",
    }
)
"""Patterns that take time in proportion to a text, however it was made."""
NO_TERM: Final = ""
"""What fills the rows of a matrix of terms: no term is empty."""
_SPACES: Final = re.compile(r"\s\s+")
_CELLS: Final = 1_000_000
_PIECE: Final = 256
"""Characters that are decomposed at a time."""

Accents = Literal["unicode", "ascii", ""]
Unit = Literal["word", "char", "char_wb"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How texts are taken apart: the parameters of a vectorizer, in its words."""

    lowercase: bool
    accents: Accents
    unit: Unit
    pattern: str
    shortest: int
    longest: int
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would not end.

        Raises:
            ValueError: the pattern is none of `PATTERNS`, or a setting is unknown.
        """
        if self.unit == "word" and self.pattern not in PATTERNS:
            raise ValueError(f"texts cannot be taken apart by the pattern {self.pattern!r}")
        if self.unit not in ("word", "char", "char_wb"):
            raise ValueError(f"texts cannot be taken apart by {self.unit!r}")
        if self.accents not in ("unicode", "ascii", ""):
            raise ValueError(f"accents cannot be taken off by {self.accents!r}")
        if not 1 <= self.shortest <= self.longest <= 16:
            raise ValueError(f"terms of {self.shortest} to {self.longest} parts are not made")

    def splitter(self) -> Callable[[str], list[str]]:
        """Make the function that gives the terms of a text, in order and repeated."""
        prepare = self._preparer()
        if self.unit != "word":
            ngrams = _of_chars if self.unit == "char" else _of_padded_words
            return lambda text: list(ngrams(prepare(text), self.shortest, self.longest))
        find, stopped = re.compile(self.pattern).findall, frozenset(self.stop_words)
        if not stopped and self.longest == 1:
            return lambda text: find(prepare(text))

        def split(text: str) -> list[str]:
            words = [word for word in find(prepare(text)) if word not in stopped]
            return words if self.longest == 1 else list(self._of_words(words))

        return split

    def _preparer(self) -> Callable[[str], str]:
        off = {"unicode": _without_accents, "ascii": _as_ascii}.get(self.accents)
        if off is None:
            return str.lower if self.lowercase else str
        return (lambda text: off(text.lower())) if self.lowercase else off

    def _of_words(self, words: Sequence[str]) -> Iterator[str]:
        for size in range(self.shortest, min(self.longest, len(words)) + 1):
            for i in range(len(words) - size + 1):
                yield " ".join(words[i : i + size])


def _of_chars(text: str, shortest: int, longest: int) -> Iterator[str]:
    text = _SPACES.sub(" ", text)
    for size in range(shortest, min(longest, len(text)) + 1):
        for i in range(len(text) - size + 1):
            yield text[i : i + size]


def _of_padded_words(text: str, shortest: int, longest: int) -> Iterator[str]:
    for word in _SPACES.sub(" ", text).split():
        padded = f" {word} "
        for size in range(shortest, longest + 1):
            count = max(1, len(padded) - size + 1)
            for i in range(count):
                yield padded[i : i + size]
            if count == 1:  # a short word is counted once
                break


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    return "".join([char for char in _decomposed(text) if not unicodedata.combining(char)])


def _as_ascii(text: str) -> str:
    return _decomposed(text).encode("ascii", "ignore").decode("ascii")


def _decomposed(text: str) -> str:
    """NFKD, piece by piece: the order of combining characters, which go anyway, may be another.

    Ordering a run of them takes time in proportion to the square of its length.
    """
    pieces = range(0, len(text), _PIECE)
    return "".join([unicodedata.normalize("NFKD", text[i : i + _PIECE]) for i in pieces])


@dataclass(frozen=True, slots=True)
class TermsInput:
    """One input of a graph that is made here: the terms of the feature with this number.

    `vocabulary` is how many terms are told apart, which bounds what a row costs.
    """

    feature: int
    vocabulary: int
    terms: Terms


def to_metadata(items: Iterable[TermsInput]) -> str:
    """Give what a graph's metadata says of its last inputs, in order."""
    return json.dumps([asdict(item) for item in items])


def from_metadata(text: str) -> list[TermsInput]:
    """Read what `to_metadata` wrote; "" is none.

    Raises:
        ValueError, TypeError, KeyError: it does not have that form.
    """
    found = []
    for item in json.loads(text) if text else []:
        terms = {**item["terms"], "stop_words": tuple(item["terms"]["stop_words"])}
        found.append(TermsInput(int(item["feature"]), int(item["vocabulary"]), Terms(**terms)))
    return found


class TermsFeed:
    """Makes the last inputs of a graph from the texts of a request."""

    def __init__(self, items: Sequence[TermsInput], names: Sequence[str]) -> None:
        pairs = zip(items, names, strict=True)
        self._made = [(name, item, item.terms.splitter()) for item, name in pairs]

    def feeds(
        self, feed: Mapping[str, NDArray[Any]], texts: Sequence[Any]
    ) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
        """Give feeds with the terms, each with its number of rows: as many as memory is for.

        `texts` are the request's columns; `feed` holds the graph's other inputs for all rows.
        A matrix is as wide as its longest text, and a count for each word of the vocabulary.
        """
        split = [[part(text) for text in texts[item.feature]] for _, item, part in self._made]
        widest = max(item.vocabulary for _, item, _ in self._made)
        lengths = [max(widest, *map(len, row)) for row in zip(*split, strict=True)]
        for part in _parts(lengths):
            made = {self._made[i][0]: _matrix(column[part]) for i, column in enumerate(split)}
            others = {name: values[part] for name, values in feed.items()}
            yield {**others, **made}, part.stop - part.start


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Cut rows into parts whose number of rows times the longest one is within `_CELLS`."""
    start = longest = 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and (i + 1 - start) * longest > _CELLS:
            yield slice(start, i)
            start, longest = i, length
    yield slice(start, len(lengths))


def _matrix(rows: Sequence[Sequence[str]]) -> NDArray[Any]:
    """Give terms [rows, longest], at least one wide."""
    width = max([1, *map(len, rows)])
    values = np.full((len(rows), width), NO_TERM, object)
    for i, row in enumerate(rows):
        values[i, : len(row)] = row
    return values
