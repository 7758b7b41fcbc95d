"""Run costs: what a graph takes by its rows and texts, and whether that is too long to wait for.

The costs are measured when a version is loaded. They are guesses for values that were not tried,
so a run that takes far longer than it may shows that they are wrong, and they are not used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pushserve_runtime.blank_rows import WARM_UP_ROWS, blank_rows
from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Signature

INLINE_BUDGET: Final = 0.001
"""Longest run between two calls, in seconds."""
DEMOTED_AT: Final = 5 * INLINE_BUDGET
"""A version that takes so long, in seconds of the processor, is not run there again."""
_MOST_ROWS: Final = 1_000_000
_WARM_UPS: Final = 3
_WORDS: Final = "".join(f"{chr(97 + i % 26)}{i} " for i in range(1000))
"""A text of many words that are all different."""

Run = Callable[[list[Array]], object]
TextSize = Callable[[list[Array]], tuple[int, int]]
"""Gives how many letters, and about how many terms, the texts of a request have."""


@dataclass(frozen=True, slots=True)
class RunCosts:
    """Seconds of a run: of one with a row, and of each row, letter and term more."""

    fixed: float
    row: float
    letter: float = 0.0
    term: float = 0.0

    def rows_within(self, budget: float) -> int:
        """Estimate how many rows without texts fit into `budget` seconds."""
        if self.fixed > budget:
            return 0
        return int(min((budget - self.fixed) / self.row + 1, _MOST_ROWS))

    def seconds(self, rows: int, letters: int, terms: int) -> float:
        """Estimate how long a run takes."""
        return self.fixed + (rows - 1) * self.row + letters * self.letter + terms * self.term


def measure(signature: Signature, run: Run, text_size: TextSize) -> RunCosts:
    """Measure runs of plain rows, and of a long text where texts are taken.

    Raises:
        Exception: whatever the run of plain rows raises.
    """
    one = _fastest(lambda: run(blank_rows(signature, 1)))
    many = _fastest(lambda: run(blank_rows(signature, WARM_UP_ROWS)))
    row = max((many - one) / (WARM_UP_ROWS - 1), 1e-9)
    if not any(feature.dtype is DType.STRING for feature in signature.inputs):
        return RunCosts(one, row)
    texts = blank_rows(signature, 1, _WORDS)
    letters, terms = text_size(texts)
    longer = max(_fastest(lambda: run(texts)) - one, 1e-9)
    # Where there are terms, they are what takes the time; each comes from some letters.
    return RunCosts(one, row, 0.0 if terms else longer / max(1, letters), longer / max(1, terms))


def _fastest(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_WARM_UPS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


class InlineRule:
    """Says which runs of one version may be done between two calls."""

    def __init__(self, costs: RunCosts | None) -> None:
        self._costs = costs
        self.most_rows = costs.rows_within(INLINE_BUDGET) if costs else 0
        self._by_text = costs is not None and costs.letter + costs.term > 0
        self.clock: Callable[[], float] = time.perf_counter

    def allows(self, rows: int, arrays: Callable[[], list[Array]], text_size: TextSize) -> bool:
        """Say whether a request is quick enough; its arrays are looked at for texts alone."""
        if rows > self.most_rows:
            return False
        if not self._by_text or self._costs is None:
            return True
        return self._costs.seconds(rows, *text_size(arrays())) <= INLINE_BUDGET

    def note(self, seconds: float) -> bool:
        """Take what a run took, by `clock`; say whether it is the last one.

        A run that took too long may have waited for the processor. From then on the
        processor's own time is taken, which costs 1 us more to ask for.
        """
        if seconds < DEMOTED_AT or not self.most_rows:
            return False
        if self.clock is time.perf_counter:
            self.clock = time.thread_time
            return False
        self.most_rows = 0
        return True
