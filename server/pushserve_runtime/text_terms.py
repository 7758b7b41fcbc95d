r"""Text terms: texts taken apart as scikit-learn's vectorizers do, for a graph that counts them.

No operator of ONNX knows Python's letters (`str.lower`, the `\w` of `re`), so this part of a
compiled model is Python of ours. A graph's metadata says with which of a few settings; a
pattern of a repository's own never runs here. Needs the standard library alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

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
MOST_LETTERS: Final = 2**21
"""A text of more letters is refused, before it is looked at."""
MOST_TERMS: Final = 2**20
"""A text that comes apart into more terms is refused, and so are terms of more letters than"""
MOST_TERM_LETTERS: Final = 2**24
_SPACES: Final = re.compile(r"\s\s+")
_LONG: Final = 65_536
"""From so many letters on a text is searched in steps: one call of `re` holds up all threads."""

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

    def most_terms(self, letters: int) -> int:
        """Give how many terms a text of so many letters may come apart into, about."""
        sizes = self.longest - self.shortest + 1
        if self.unit == "word":
            return sizes * (letters + 1) // 2
        return sizes * (letters if self.unit == "char" else 2 * letters + 2)

    def splitter(self) -> Callable[[str], list[str]]:
        """Make the function that gives the terms of a text, in order and repeated.

        It raises `TextTooLong` where there are too many.
        """
        prepare = self._preparer()
        parts = {"char": self._of_chars, "char_wb": self._of_padded_words}.get(self.unit)
        split = self._of_text_words() if parts is None else parts

        def limited(text: str) -> list[str]:
            _check_letters(text)
            prepared = prepare(text)
            _check_letters(prepared)
            return split(prepared)

        return limited

    def _preparer(self) -> Callable[[str], str]:
        off = {"unicode": _without_accents, "ascii": _as_ascii}.get(self.accents)
        if off is None:
            return str.lower if self.lowercase else str
        return (lambda text: off(text.lower())) if self.lowercase else off

    def _sizes(self, most: int) -> range:
        return range(self.shortest, min(self.longest, most) + 1)

    def _of_text_words(self) -> Callable[[str], list[str]]:
        pattern, stopped = re.compile(self.pattern), frozenset(self.stop_words)

        def split(text: str) -> list[str]:
            words = _found(pattern, text)
            if stopped:
                words = [word for word in words if word not in stopped]
            return words if self.longest == 1 else self._of_words(words)

        return split

    def _of_words(self, words: Sequence[str]) -> list[str]:
        count, letters = len(words), sum(map(len, words)) + len(words)
        sizes = self._sizes(count)
        _check_terms(sum(count - size + 1 for size in sizes), letters * sum(sizes))
        return [" ".join(words[i : i + size]) for size in sizes for i in range(count - size + 1)]

    def _of_chars(self, text: str) -> list[str]:
        text = _with_single_spaces(text)
        count = len(text)
        sizes = self._sizes(count)
        _check_terms(sum(count - size + 1 for size in sizes), count * sum(sizes))
        return [text[i : i + size] for size in sizes for i in range(count - size + 1)]

    def _of_padded_words(self, text: str) -> list[str]:
        words = [f" {word} " for word in _with_single_spaces(text).split()]
        sizes = self._sizes(MOST_LETTERS)
        _check_terms(0, sum(map(len, words)) * sum(sizes))
        terms: list[str] = []
        for word in words:
            length = len(word)
            for size in sizes:
                if size >= length:  # a short word is counted once
                    terms.append(word)
                    break
                terms += [word[i : i + size] for i in range(length - size + 1)]
            if len(terms) > MOST_TERMS:
                _check_terms(len(terms), 0)
        return terms


class TextTooLong(ValueError):
    """A text of the column with the number `feature` takes more than is allowed."""

    def __init__(self, what: str, feature: int = 0) -> None:
        super().__init__(what)
        self.feature = feature


def _check_letters(text: str) -> None:
    if len(text) > MOST_LETTERS:
        raise TextTooLong(f"a text of {len(text):,} letters, more than {MOST_LETTERS:,}")


def _check_terms(terms: int, letters: int) -> None:
    if terms > MOST_TERMS:
        raise TextTooLong(f"a text that comes apart into {terms:,} terms, more than {MOST_TERMS:,}")
    if letters > MOST_TERM_LETTERS:
        raise TextTooLong(
            f"a text whose terms have {letters:,} letters together, more than {MOST_TERM_LETTERS:,}"
        )


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    if len(text) <= _LONG:
        return pattern.findall(text)
    return [match.group() for match in pattern.finditer(text)]


def _with_single_spaces(text: str) -> str:
    if len(text) <= _LONG:
        return _SPACES.sub(" ", text)
    parts: list[str] = []
    start = 0
    for match in _SPACES.finditer(text):
        parts += (text[start : match.start()], " ")
        start = match.end()
    return "".join([*parts, text[start:]])


class _Plain(dict[int, str]):
    """What each letter is without its accents, for `str.translate`.

    NFKD of a whole text sorts the accents behind each letter, which takes a square of their
    number. They are dropped, so their order is of no matter, and each letter can be looked
    at alone.
    """

    def __init__(self, plain: Callable[[str], str]) -> None:
        super().__init__()
        self._plain = plain

    def __missing__(self, code: int) -> str:
        found = self._plain(unicodedata.normalize("NFKD", chr(code)))
        if len(self) < _LONG:
            self[code] = found
        return found


_UNACCENTED: Final = _Plain(lambda text: "".join(c for c in text if not unicodedata.combining(c)))
_ASCII: Final = _Plain(lambda text: text.encode("ascii", "ignore").decode("ascii"))


def _without_accents(text: str) -> str:
    return text if text.isascii() else text.translate(_UNACCENTED)


def _as_ascii(text: str) -> str:
    return text if text.isascii() else text.translate(_ASCII)
