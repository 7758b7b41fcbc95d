"""Step bits: what steps hand to thresholds must be scikit-learn's, to the last bit.

Bins, edges and categories are training values: one last bit sends such a row the other way, and
no comparison of answers finds all of them. So what comes before is compared as it is, in batches
of several sizes and for rows alone: the same row must always give the same bits, in the graph and
in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.onnx_predictor import OnnxPredictor, graph_inputs
from pushserve_runtime.onnx_session import open_session
from pushserve_sandbox.onnx_compiler.graph.marks import Mark, mark_tensors, marked
from pushserve_sandbox.onnx_compiler.graph.nodes import with_outputs
from pushserve_sandbox.onnx_compiler.proof.inner_estimators import split
from pushserve_sandbox.onnx_compiler.proof.trial_rows import take
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable
from pushserve_sandbox.prediction.model_outputs import quiet
from pushserve_sandbox.prediction.predictor import EstimatorPredictor

ROWS: Final = 3_072
_CELLS: Final = 4_000_000
"""Values that are compared at once; texts have as many columns as their vocabulary."""
_LARGEST: Final = 512
_SIZES: Final = (1,) * 32 + (2, 3, 5, 8, 13, 33, 64)
_NEXT_TO: Final = 1e-14
"""What is rounded to float32 afterwards may be off by some last bits of a double."""

Values = NDArray[Any]


def compare_steps(
    estimator: Any, predictor: EstimatorPredictor, model: Any, rows: Sequence[Array]
) -> str:
    """Say where the graph `model`, as it is converted, hands on other bits; "" if nowhere."""
    with marked(estimator) as marks:
        tensors = mark_tensors(model)
        wanted = [m for m in marks if m.number in tensors and m.compares]
        if not wanted:
            return ""
        names = [tensors[mark.number] for mark in wanted]
        ask = _Graph(model, predictor, names)
        with quiet():
            for part, known in _parts(estimator, predictor, rows, wanted):
                for mark, expected, got in zip(wanted, known, ask.values(part), strict=True):
                    if not _same(mark, expected, got):
                        return "a step before thresholds does not give the same bits"
    return ""


def _parts(
    estimator: Any, predictor: EstimatorPredictor, rows: Sequence[Array], marks: Sequence[Mark]
) -> Iterator[tuple[Sequence[Array], list[Values]]]:
    """Give batches of rows, and what scikit-learn hands on there; rows alone at the end.

    Raises:
        NotCompilable: scikit-learn itself hands on other bits in other batches.
    """
    count = min(len(rows[0].values), ROWS)
    _run(estimator, predictor, take(rows, slice(0, 1)))
    width = max(_dense(mark.seen).size for mark in marks)
    size = max(min(_LARGEST, _CELLS // max(width, 1)), 16)
    count = min(count, 8 * size)
    first: list[Values] = []
    for start in range(0, count, size):
        part = take(rows, slice(start, start + size))
        _run(estimator, predictor, part)
        known = [_dense(mark.seen) for mark in marks]
        first = first or known
        yield part, known
    start = 0
    for length in _SIZES:
        stop = start + length
        if stop > len(first[0]):
            return
        part = take(rows, slice(start, stop))
        _run(estimator, predictor, part)
        known = [_dense(mark.seen) for mark in marks]
        for mark, before, now in zip(marks, first, known, strict=True):
            if not _same(mark, before[start:stop], now):
                raise NotCompilable("a step before thresholds whose bits depend on the batch")
        yield part, known
        start = stop


def _run(estimator: Any, predictor: EstimatorPredictor, rows: Sequence[Array]) -> None:
    """Have rows go through the marks, and no further where that is enough."""
    copied = [Array(item.dtype, item.values.copy(), item.nulls) for item in rows]
    data = predictor.build_input(copied)
    steps, _ = split(estimator)
    if steps and isinstance(steps[-1], Mark):
        for step in steps:
            data = data if step is None or isinstance(step, str) else step.transform(data)
    else:
        next(iter(predictor.functions.values()))(data)


def _dense(rows: Any) -> Values:
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


class _Graph:
    """A graph that gives the tensors of these names."""

    def __init__(self, model: Any, predictor: EstimatorPredictor, names: Sequence[str]) -> None:
        self._session = open_session(with_outputs(model, names))
        self._names = list(names)
        self._feeds = OnnxPredictor(
            self._session, predictor.signature, graph_inputs(self._session)
        ).feeds

    def values(self, rows: Sequence[Array]) -> list[Values]:
        """Give each tensor for these rows."""
        parts = [self._session.run(self._names, feed) for feed, _ in self._feeds(rows)]
        return [np.concatenate(items) for items in zip(*parts, strict=True)]


def _same(mark: Mark, expected: Values, got: Values) -> bool:
    if expected.shape != got.shape:
        return False
    if expected.dtype.kind not in "fiub":
        return bool(np.array_equal(expected.astype(str), got.astype(str)))
    one, other = expected.astype(np.float64), got.astype(np.float64)
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    if mark.doubles or equal.all():
        return bool(equal.all())
    with np.errstate(all="ignore"):
        near = np.abs(one - other) <= _NEXT_TO * np.abs(one)
        rounded = one.astype(np.float32) == other.astype(np.float32)
    return bool((equal | (near & rounded)).all())
