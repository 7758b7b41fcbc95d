"""Equality test: compares fast paths with the estimator's own methods, bit by bit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from pushserve_runtime.frames import Array
from pushserve_runtime.output_arrays import dense
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.probing import attempt
from pushserve_sandbox.prediction.fast_path import FastPath
from pushserve_sandbox.prediction.model_inputs import InputFunction
from pushserve_sandbox.prediction.model_outputs import OutputFunction

BLOCK: Final = 256
SMALL: Final = 64
_SINGLE_ROWS: Final = 3
_SECONDS: Final = 1.0
"""After so much processor time no further rows are tried, but at least `_LEAST`."""
_LEAST: Final = 1024
_ODD: Final = (np.nan, np.inf, -np.inf, 1e39, -1e39, 1e308)

Batch = Sequence[Array]
Answers = Mapping[str, Any]
"""Arrays by output, or the exceptions that came instead."""


class Trial:
    """An estimator's own answers to trial rows, which fast paths are held against."""

    def __init__(
        self, build: InputFunction, functions: Mapping[str, OutputFunction], rows: Batch
    ) -> None:
        self._build = build
        self._functions = functions
        self._rows = rows
        self._count = len(rows[0].values)
        self._known: dict[tuple[int, str], Any] = {}
        self._shared: FastPath | None = None
        self._begun: dict[int, Any] = {}

    def share(self, own_code: FastPath) -> None:
        """Have the estimator's own answers come by its own code, run once for all outputs.

        It has passed: on the rows that it was tried on, these are the same bits.
        """
        self._shared = own_code

    def passed(self, fast_path: FastPath) -> int:
        """Give on how many rows the fast path gave the same bits; 0 where it differed anywhere."""
        names = self._functions.keys() & fast_path.outputs.keys()
        agreed = 0
        for number, batch in self._batches(fast_path):
            own = {name: self._own(name, number, batch) for name in names}
            verdict = self._compare(fast_path, batch, own)
            if verdict is False or (fast_path.by_row and not self._in_parts(fast_path, batch, own)):
                return 0
            if verdict and number >= 0:
                agreed += len(batch[0].values)
        return agreed if names else 0

    def _batches(self, fast_path: FastPath) -> Iterator[tuple[int, Batch]]:
        """Give batches of the sizes that matter (BLAS may compute one row differently).

        Each has a number of its own, which is negative for those of few rows.
        """
        small = enumerate(self._small_batches())
        for number, batch in islice(small, 1) if fast_path.is_own_code else small:
            yield -1 - number, batch
        started = time.thread_time()
        most = BLOCK if fast_path.is_own_code else self._count
        for start in range(0, most, BLOCK):
            if start >= _LEAST and time.thread_time() - started > _SECONDS:
                break
            yield start, _take(self._rows, slice(start, start + BLOCK))

    def _small_batches(self) -> Iterator[Batch]:
        yield _take(self._rows, slice(0, 1))
        if self._count <= SMALL:  # a worker's look at what a build has tried
            return
        yield _take(self._rows, slice(0, SMALL))
        for row in range(1, _SINGLE_ROWS):
            yield _take(self._rows, slice(row, row + 1))
        if self._rows[0].values.ndim == 2:
            for number, value in enumerate(_ODD):
                odd = self._rows[0].values[:1].copy()
                odd[0, number % odd.shape[1]] = value
                yield [Array(DType.FLOAT64, odd)]

    def _in_parts(self, fast_path: FastPath, batch: Batch, own: Answers) -> bool:
        """Whether small batches give what the whole one gave, where that is promised."""
        if any(isinstance(answer, BaseException) for answer in own.values()):
            return True
        parts = [slice(at, at + SMALL) for at in range(0, len(batch[0].values), SMALL)]
        return all(
            self._compare(fast_path, _take(batch, part), {n: a[part] for n, a in own.items()})
            is not False
            for part in parts
        )

    def _own(self, name: str, number: int, batch: Batch) -> Any:
        """Give the estimator's own answer to the batch of this number, asked for once."""
        if (number, name) not in self._known:
            self._known[number, name] = attempt(
                lambda: dense(self._answer(name, number, batch), len(batch[0].values))
            )
        return self._known[number, name]

    def _answer(self, name: str, number: int, batch: Batch) -> Any:
        if self._shared is None or name not in self._shared.outputs:
            return self._functions[name](self._build(_copied(batch)))
        if number not in self._begun:
            self._begun[number] = self._shared.start(self._build(_copied(batch)))
        return self._shared.outputs[name](self._begun[number])

    def _compare(self, fast_path: FastPath, batch: Batch, own: Answers) -> bool | None:
        """Say whether both answer alike; None where the fast path left the rows to it."""
        rows = len(batch[0].values)
        data = self._build(_copied(batch))
        found = attempt(lambda: fast_path.start(data))
        if found is None:
            return None
        if isinstance(found, BaseException):  # as the estimator did, or else it is a mistake
            return None if any(isinstance(a, BaseException) for a in own.values()) else False
        return all(
            _same_bits(answer, attempt(lambda n=name: dense(fast_path.outputs[n](found), rows)))  # type: ignore[misc]
            for name, answer in own.items()
        )


def _same_bits(own: Any, with_first_equal: Any) -> bool:
    if isinstance(own, BaseException) or isinstance(with_first_equal, BaseException):
        return False
    if own.dtype != with_first_equal.dtype or own.shape != with_first_equal.shape:
        return False
    if own.dtype.kind == "O":
        return bool(np.array_equal(own, with_first_equal))
    return bool(own.tobytes() == with_first_equal.tobytes())


def _take(rows: Batch, part: slice) -> Batch:
    return [
        Array(a.dtype, a.values[part], None if a.nulls is None else a.nulls[part]) for a in rows
    ]


def _copied(rows: Batch) -> Batch:
    """Copy, because some transformers write into what they are given (`copy=False`)."""
    return [Array(a.dtype, a.values.copy(), a.nulls) for a in rows]
