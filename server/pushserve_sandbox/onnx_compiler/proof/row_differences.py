"""Row differences: in which rows two answers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType

RELATIVE: Final = 1e-6
"""How far a number may be off, as a part of it or of the output's usual size."""
_OF_ONE: Final = frozenset({"probabilities"})


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a number may be off: `|got - want| <= absolute + RELATIVE * |want|`."""

    absolute: float

    @classmethod
    def of(cls, output: str, want: Array) -> Tolerances:
        """Choose them by the usual size of an output: 1 for probabilities, else the median."""
        if output in _OF_ONE or want.dtype is not DType.FLOAT64:
            return cls(RELATIVE)
        sizes = np.abs(want.values[np.isfinite(want.values)])
        sizes = sizes[sizes > 0]
        return cls(RELATIVE * min(1.0, float(np.median(sizes))) if len(sizes) else RELATIVE)


@dataclass(frozen=True, slots=True)
class Difference:
    """Which rows differ: `rows` [rows].

    `deviation` is the largest one of a number, relative to itself or to the usual size.
    """

    rows: NDArray[np.bool_]
    deviation: float

    @property
    def differing(self) -> int:
        """How many rows differ."""
        return int(self.rows.sum())


def compare(want: Array, got: Array, tolerances: Tolerances) -> Difference:
    """Compare two answers row by row. Labels, and whatever is no float, must be equal."""
    if want.dtype is not got.dtype or want.values.shape != got.values.shape:
        return Difference(np.ones(len(want.values), bool), 0.0)
    if want.dtype is not DType.FLOAT64:
        return Difference(_by_row(want.values != got.values), 0.0)
    return _compare_floats(want.values, got.values, tolerances)


def _compare_floats(want: NDArray[Any], got: NDArray[Any], tolerances: Tolerances) -> Difference:
    equal = (want == got) | (np.isnan(want) & np.isnan(got))
    both = np.isfinite(want) & np.isfinite(got)
    with np.errstate(all="ignore"):
        off = np.where(both, np.abs(got - want), 0.0)
        allowed = tolerances.absolute + RELATIVE * np.abs(want)
        deviations = RELATIVE * off / allowed
    wrong = ~equal & (~both | (off > allowed))
    deviation = float(np.max(deviations[both], initial=0.0))
    return Difference(_by_row(wrong), deviation)


def _by_row(wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    flat = np.asarray(wrong, bool).reshape(len(wrong), -1)
    return np.asarray(flat.any(axis=1))
