"""Graph bounds: what a run takes at most, bytes and operations, as they grow with a request.

The sandbox proves them (`pushserve_sandbox.admission`); a server process goes by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

RULES: Final = 1
"""Which rules the bounds were proved by; a bundle by others is built again."""
RUN_BYTES: Final = 64 * 1024**2
"""For one run of a graph: rows of a larger request are run in parts."""
RUN_OPERATIONS: Final = 2_000_000_000
TEXT_BYTES: Final = 32 * 1024**2
"""For all copies of texts that are made on the way, of the rows of one run."""
ROW_TEXT_BYTES: Final = 256 * 1024**2
"""Likewise, of one row that is longer."""
_BYTES_OF_A_LETTER: Final = 4
_MOST_ROWS: Final = 2**31


@dataclass(frozen=True, slots=True)
class Growth:
    """A number that grows with a request: a sum of products, each with its coefficient.

    A product is named by its factors: "r" rows, "t" terms of the longest row, "k" kinds of
    terms among all rows. "" is what every run takes.
    """

    coefficients: Mapping[str, float]

    def at(self, rows: float, terms: float = 0, kinds: float = 0) -> float:
        """Give the number for so many rows, terms of the longest row, and kinds of terms."""
        factors = {"r": rows, "t": terms, "k": kinds}
        return sum(
            value * math.prod(factors[letter] for letter in product)
            for product, value in self.coefficients.items()
        )


@dataclass(frozen=True, slots=True)
class GraphBounds:
    """What one run takes at most: `memory` in bytes, `work` in operations.

    `kinds` is how many kinds of terms it tells apart at most; `texts` is how many copies it
    makes of a text that it is given. With `zeros`, it is run with denormal numbers as zeros.
    """

    memory: Growth
    work: Growth
    kinds: int = 0
    texts: int = 0
    zeros: bool = False

    def fits(self, rows: int, terms: int = 0) -> bool:
        """Say whether so many rows, of so many terms at most, may be run at once."""
        size = (rows, terms, min(self.kinds, rows * terms))
        return self.memory.at(*size) <= RUN_BYTES and self.work.at(*size) <= RUN_OPERATIONS

    def rows_at_once(self, size: int = RUN_BYTES) -> int:
        """Give how many rows may be run at once in `size` bytes where no terms are, or one."""
        found = [
            (most - growth.at(0)) / max(growth.at(1) - growth.at(0), 1e-9)
            for growth, most in ((self.memory, size), (self.work, RUN_OPERATIONS))
        ]
        return int(max(1, min(*found, _MOST_ROWS)))

    def rows_of_text(self, longest: int) -> int:
        """Give how many rows with so many letters of text may be run at once."""
        copied = self._copied(longest)
        return max(1, TEXT_BYTES // copied) if copied else _MOST_ROWS

    def takes_text(self, letters: int) -> bool:
        """Say whether a row with so many letters of text may be run."""
        return self._copied(letters) <= ROW_TEXT_BYTES

    def _copied(self, letters: int) -> int:
        return self.texts * letters * _BYTES_OF_A_LETTER

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {
            "rules": RULES,
            "memory": dict(self.memory.coefficients),
            "work": dict(self.work.coefficients),
            "kinds": self.kinds,
            "texts": self.texts,
            "zeros": self.zeros,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphBounds:
        """Build it from what `to_json` gave.

        Raises:
            ValueError: it does not have that form, or other rules admitted the graph.
        """
        if data.get("rules") != RULES:
            raise ValueError(f"bounds by rules {data.get('rules')}, not {RULES}")
        memory, work = (_growth(data.get(name)) for name in ("memory", "work"))
        kinds, texts = (_count(data.get(name)) for name in ("kinds", "texts"))
        return cls(memory, work, kinds, texts, zeros=data.get("zeros") is True)


def _growth(data: object) -> Growth:
    if not isinstance(data, dict) or not all(set(key) <= set("rtk") for key in data):
        raise ValueError("a growth is an object of coefficients")
    values = {str(key): float(value) for key, value in data.items()}
    if not all(math.isfinite(value) and value >= 0 for value in values.values()):
        raise ValueError("coefficients are finite and not below zero")
    return Growth(values)


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("a count is a whole number that is not below zero")
    return value
