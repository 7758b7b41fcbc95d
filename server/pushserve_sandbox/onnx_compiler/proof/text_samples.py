"""Text samples: made to find differences in how texts are taken apart."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final

COUNT: Final = 800
_WORDS: Final = 2_000
_LONG: Final = 3_000
_LAST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
ODD_WORDS: Final = (
    *("I", "İstanbul", "\u0131i", "ΟΔΟΣ", "ς", "Σ", "AΣB", "ß", "ẞ", "ﬁn", "ǅ", "\u212a", "\u212b"),
    *("é", "e\u0301", "\u0301", "ﷺ", "①", "²", "١٢", "½", "_", "a_b", "__x", "x1", "007", "1.5"),
    *("don't", "o\u2019clock", "e-mail", "a@b.c", "#tag", "日本語", "ไทย", "हिन्दी", "\0"),
    "\U0001f469\u200d\U0001f467",
)
_BETWEEN: Final = (
    *(" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", ". ", ", ", "-", "_", "'", "", "/", "\x1c"),
    *("\u00a0", "\u2003", "\u200b", "\u200d", "\u0085", "\u2028", "\u3000", "\ufeff", "\u0301"),
)


def sentences(terms: Iterable[str], seed: int) -> list[str]:
    """Make texts of the terms that an estimator knows, and of others; the same every time."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    known = sorted(terms)
    if len(known) > _WORDS:
        known = chance.sample(known, _WORDS)
    made = [_sentence(known, chance, chance.choice((1, 2, 5, 12, 40))) for _ in range(COUNT)]
    long = [_sentence(known, chance, _LONG), "a" * 20_000, " ".join(known[:1] * _LONG)]
    return ["", " ", "\n", *long, *made]


def _sentence(known: Sequence[str], chance: random.Random, words: int) -> str:
    parts = []
    for _ in range(words):
        parts += [_word(known, chance), chance.choice(_BETWEEN)]
    return "".join(parts)


def _word(known: Sequence[str], chance: random.Random) -> str:
    kind = chance.random()
    if kind > 0.25 and known:
        word = chance.choice(known)
        return chance.choice((word, word, word, word.upper(), word.title(), word + "s"))
    if kind > 0.1:
        return chance.choice(ODD_WORDS)
    last = chance.choice((0x250, 0x3000, _LAST))
    numbers = [chance.randrange(last) for _ in range(3)]
    return "".join(chr(number) for number in numbers if number not in _SURROGATES)
