"""Terms feed: inputs of a graph that are terms of texts, as many rows at once as memory is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.text_terms import Terms, TextTooLong

TERMS_KEY: Final = "pushserve.terms"
"""A graph's metadata under this key is what its last inputs are made of, as `to_metadata` says."""
NO_TERM: Final = ""
"""What fills the rows of a matrix of terms: no term is empty."""
MOST_CALL_TERMS: Final = 2**22
"""Terms of all texts of a column, in one call."""
_CELLS: Final = 1_000_000
"""Rows times terms that are run at once, where no bounds say how many may be."""


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


Fits = Callable[[int, int], bool]
"""Says whether so many rows, of so many terms at most, may be run at once."""


class TermsFeed:
    """Makes the last inputs of a graph from the texts of a request."""

    def __init__(
        self, items: Sequence[TermsInput], names: Sequence[str], fits: Fits | None = None
    ) -> None:
        pairs = zip(items, names, strict=True)
        self._made = [(name, item, item.terms.splitter()) for item, name in pairs]
        widest = max(item.vocabulary for item in items)
        self._fits = fits or (lambda rows, terms: rows * max(widest, terms) <= _CELLS)

    def most_terms(self, texts: Sequence[Any]) -> int:
        """Give how many terms the texts of a request, by column, may come apart into, about."""
        return sum(
            item.terms.most_terms(len(text))
            for _, item, _ in self._made
            for text in texts[item.feature]
        )

    def longest(self, texts: Sequence[Any]) -> int:
        """Give how many terms the longest of the texts may come apart into, about."""
        return max(
            item.terms.most_terms(max(map(len, texts[item.feature]))) for _, item, _ in self._made
        )

    def feeds(
        self, feed: Mapping[str, NDArray[Any]], texts: Sequence[Any]
    ) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
        """Give feeds with the terms, each with its number of rows: as many as memory is for.

        `texts` are the request's columns; `feed` holds the graph's other inputs for all rows.
        A matrix is as wide as its longest text. Texts are taken apart when they are needed.

        Raises:
            TextTooLong: a text, or all of a column, has more terms than are taken.
        """
        for rows, part in self._parts(texts):
            made = {
                name: _matrix(column)
                for (name, _, _), column in zip(self._made, zip(*rows, strict=True), strict=True)
            }
            others = {name: values[part] for name, values in feed.items()}
            yield {**others, **made}, part.stop - part.start

    def _parts(self, texts: Sequence[Any]) -> Iterator[tuple[list[list[list[str]]], slice]]:
        """Give rows, each as its terms by input, as many as may be run at once."""
        rows: list[list[list[str]]] = []
        start = longest = 0
        count = len(texts[self._made[0][1].feature])
        split = _Split(self._made)
        for i in range(count):
            row = split.row([texts[item.feature][i] for _, item, _ in self._made])
            wide = max(map(len, row))
            if rows and not self._fits(len(rows) + 1, max(longest, wide)):
                yield rows, slice(start, i)
                rows, start, longest = [], i, 0
            rows.append(row)
            longest = max(longest, wide)
        yield rows, slice(start, count)


class _Split:
    """Takes the texts of one request apart, and counts the terms of each column."""

    def __init__(self, made: Sequence[tuple[str, TermsInput, Callable[[str], list[str]]]]) -> None:
        self._made = made
        self._counts = [0] * len(made)

    def row(self, texts: Sequence[str]) -> list[list[str]]:
        """Give the terms of one row's texts, by input.

        Raises:
            TextTooLong: there are too many.
        """
        found = []
        for i, ((_, item, split), text) in enumerate(zip(self._made, texts, strict=True)):
            try:
                found.append(split(text))
            except TextTooLong as error:
                raise TextTooLong(str(error), item.feature) from None
            self._counts[i] += len(found[-1])
            if self._counts[i] > MOST_CALL_TERMS:
                what = f"texts that come apart into more than {MOST_CALL_TERMS:,} terms in one call"
                raise TextTooLong(what, item.feature)
        return found


def _matrix(rows: Sequence[Sequence[str]]) -> NDArray[Any]:
    """Give terms [rows, longest], at least one wide."""
    width = max([1, *map(len, rows)])
    values = np.full((len(rows), width), NO_TERM, object)
    for i, row in enumerate(rows):
        values[i, : len(row)] = row
    return values
