"""Denormal trial: whether a graph answers the same where denormal numbers count as zero.

A graph of many operations a row has to be run so (`pushserve_runtime.denormals`). It is tried on
rows of which one number, or all, are such numbers or lead to some on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.blank_rows import blank_rows
from pushserve_runtime.frames import Array
from pushserve_runtime.graph_bounds import RUN_OPERATIONS, GraphBounds
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.signature import Layout, Signature
from pushserve_sandbox.admission.not_admitted import NotAdmitted

SLOW_OPERATIONS: Final = 500_000
"""Of a row, as long as a millisecond where each takes a hundred times as long as usual."""
_TINY: Final = (5e-324, -1e-310, 1e-160, 1e-40, -1e-40, 1e-20)
"""Denormal in double or single precision, or their squares are."""
_BASES: Final = (0.0, 1.0, -0.5, None)
"""What the other numbers are; None stands for numbers by chance."""
_MOST_COLUMNS: Final = 32
_LEAST_ROWS: Final = 32
_RELATIVE: Final = 1e-9
_ABSOLUTE: Final = 1e-20


def decide(bounds: GraphBounds, plain: OnnxPredictor, zeros: OnnxPredictor) -> GraphBounds:
    """Give the bounds with `zeros` as it has to be; the two predictors are without and with it.

    Raises:
        NotAdmitted: the answers differ, and a row would take too long without it.
    """
    if not bounds.zeros or not _has_fractions(plain.signature):
        return replace(bounds, zeros=False)
    work = bounds.work.at(1) - bounds.work.at(0)
    if all(_equal(plain, zeros, rows) for rows in _trials(plain.signature, work)):
        return bounds
    if work > SLOW_OPERATIONS:
        raise NotAdmitted(
            f"numbers next to zero, which take long, for {work / 1e6:,.1f} million operations a row"
        )
    return replace(bounds, zeros=False)


def _has_fractions(signature: Signature) -> bool:
    return any(array.values.dtype.kind == "f" for array in blank_rows(signature, 1))


def _equal(plain: OnnxPredictor, zeros: OnnxPredictor, rows: Sequence[Array]) -> bool:
    names = [spec.name for spec in plain.signature.outputs]
    want, got = (_answer(predictor, rows, names) for predictor in (plain, zeros))
    if want is None or got is None:
        return want is got
    return all(_close(a.values, b.values) for a, b in zip(want, got, strict=True))


def _answer(
    predictor: OnnxPredictor, rows: Sequence[Array], names: Sequence[str]
) -> list[Array] | None:
    try:
        return predictor.predict(rows, names)
    except Exception:  # noqa: BLE001 (ONNX Runtime raises classes of its own)
        return None


def _close(want: NDArray[Any], got: NDArray[Any]) -> bool:
    if want.dtype.kind != "f":
        return bool(np.array_equal(want, got))
    return bool(np.allclose(want, got, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True))


def _trials(signature: Signature, work: float) -> Iterator[list[Array]]:
    """Make rows for every number of `_TINY`: as many as may be run in all, by what one takes."""
    most = max(_LEAST_ROWS, int(RUN_OPERATIONS / max(work, 1.0)))
    per_base = max(2, min(_MOST_COLUMNS + 1, most // (len(_TINY) * len(_BASES))))
    for tiny in _TINY:
        for base in _BASES:
            yield _rows(signature, base, tiny, per_base)


def _rows(signature: Signature, base: float | None, tiny: float, count: int) -> list[Array]:
    """Make rows that have `tiny` in all columns of fractions, then in one of them each."""
    arrays = blank_rows(signature, count)
    columns = _columns(signature, arrays)
    chance = np.random.default_rng(0)
    for column in columns:
        column[:] = chance.normal(size=count) if base is None else base
        column[0] = tiny
    for row in range(1, count):
        columns[(row - 1) * len(columns) // (count - 1)][row] = tiny
    return arrays


def _columns(signature: Signature, arrays: Sequence[Array]) -> list[NDArray[Any]]:
    if signature.layout is Layout.MATRIX:
        return list(arrays[0].values.T)
    return [array.values for array in arrays if array.values.dtype.kind == "f"]
