"""Parity: a graph must answer every trial row as its estimator does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.build_error import brief, printable
from pushserve_runtime.frames import Array
from pushserve_runtime.signature import Signature
from pushserve_sandbox.onnx_compiler.proof.row_differences import Tolerances, compare
from pushserve_sandbox.onnx_compiler.proof.trial_rows import EXTREMES, take
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable
from pushserve_sandbox.prediction.model_outputs import quiet
from pushserve_sandbox.prediction.predictor import Predictor

SECONDS: Final = 5.0
"""Of processor time that an estimator may take for all rows."""
EXTRA_ROWS: Final = 1024
"""Rows on which outputs are compared that do not decide."""
CHUNK: Final = 512
MOST_REFUSED: Final = 256
_FEW_REFUSED: Final = 64
"""More than these, and than are answered, are too many: to find each of them takes long."""
_ALONE: Final = 16


@dataclass(slots=True)
class Answers:
    """What an estimator gives: `rows` that it takes, and each output of them.

    Outputs that do not decide are there for the first rows alone, which saves half of the time.
    `refused` are rows that it raises on.
    """

    rows: list[Array]
    outputs: dict[str, Array]
    refused: list[Array]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows[0].values)

    def first(self, rows: int) -> Answers:
        """Give the answers of the first rows alone."""
        part = slice(0, rows)
        names = list(self.outputs)
        outputs = take(list(self.outputs.values()), part)
        return Answers(take(self.rows, part), dict(zip(names, outputs, strict=True)), [])


def deciding_outputs(signature: Signature) -> list[str]:
    """Name the outputs that must be equal: the default ones, and the scores behind a label."""
    names = list(signature.default_outputs)
    given = {spec.name for spec in signature.outputs}
    scores = [name for name in ("probabilities", "decision_function") if name in given]
    if "label" in names and scores and not set(scores) & set(names):
        names.append(scores[-1])
    return names


def ask(predictor: Predictor, rows: Sequence[Array]) -> Answers:
    """Ask an estimator about all rows; those that it refuses are kept apart.

    Raises:
        NotCompilable: it is too slow, or refuses too many.
    """
    deciding = deciding_outputs(predictor.signature)
    every = [spec.name for spec in predictor.signature.outputs]
    asking = _Asking(predictor, rows)
    start = time.thread_time()
    total = len(rows[0].values)
    ends = [*range(CHUNK, EXTRA_ROWS + 1, CHUNK), *range(3 * CHUNK, total - EXTREMES, 4 * CHUNK)]
    at = 0
    for end in [*(end for end in ends if end < total - EXTREMES), total - EXTREMES, total]:
        if time.thread_time() - start > SECONDS:
            raise NotCompilable(
                f"the estimator takes more than {SECONDS:g} s of processor time "
                f"for {total:,} trial rows ({at:,} were answered)"
            )
        asking.ask(np.arange(at, end), every if at < EXTRA_ROWS else deciding)
        at = end
    return asking.answers()


@dataclass(slots=True)
class _Asking:
    """Collects what a predictor gives for chunks of rows."""

    predictor: Predictor
    rows: Sequence[Array]
    taken: list[NDArray[np.int64]] = field(default_factory=list)
    found: dict[str, list[Array]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)

    def ask(self, numbers: NDArray[np.int64], names: Sequence[str]) -> None:
        """Ask about the rows of these numbers; where it raises, about each half."""
        try:
            with quiet():
                results = self.predictor.predict(take(self.rows, numbers), names)
        except Exception as error:  # noqa: BLE001 (whatever an estimator raises)
            self._refuse(numbers, names, error)
            return
        self.taken.append(numbers)
        for name, result in zip(names, results, strict=True):
            self.found.setdefault(name, []).append(result)

    def _refuse(self, numbers: NDArray[np.int64], names: Sequence[str], error: Exception) -> None:
        if len(numbers) > 1:
            for half in np.array_split(numbers, 2):
                self.ask(half, names)
            return
        self.refused += numbers.tolist()
        answered = sum(map(len, self.taken))
        if len(self.refused) > MOST_REFUSED or len(self.refused) > max(answered, _FEW_REFUSED):
            text = f"the estimator refuses too many trial rows: {brief(error)}"
            raise NotCompilable(text) from error

    def answers(self) -> Answers:
        if not self.taken:
            raise NotCompilable("the estimator refuses all trial rows")
        outputs = {
            name: Array(parts[0].dtype, np.concatenate([part.values for part in parts]))
            for name, parts in self.found.items()
        }
        refused = take(self.rows, np.array(self.refused, int))
        return Answers(take(self.rows, np.concatenate(self.taken)), outputs, refused)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`differences` says by output how a graph differs, in words; empty where it does not.

    `deviations` are each output's largest deviation of a number, relative to itself or to
    the usual size.
    """

    differences: Mapping[str, str]
    deviations: Mapping[str, float]


def judge(graph: Predictor, answers: Answers) -> Verdict:
    """Compare a graph's answers, to many rows at once and to some of them alone.

    Raises:
        Exception: whatever running the graph raises.
    """
    names = [spec.name for spec in graph.signature.outputs]
    got = _in_parts(graph, answers, names)
    alone = [graph.predict(take(answers.rows, slice(i, i + 1)), names) for i in _some(answers)]
    differences: dict[str, str] = {}
    deviations: dict[str, float] = {}
    for i, name in enumerate(names):
        want = answers.outputs[name]
        tolerances = Tolerances.of(name, want)
        part = take([got[i]], slice(0, len(want.values)))[0]
        difference = compare(want, part, tolerances)
        deviations[name] = difference.deviation
        wrong = np.flatnonzero(difference.rows)
        if len(wrong):
            differences[name] = _words(name, answers, part, wrong)
        elif not _same_alone(want, [result[i] for result in alone], tolerances):
            differences[name] = f"{name} of a row alone is not what it is among others"
    return Verdict(differences, deviations)


def answered_though_refused(graph: Predictor, answers: Answers) -> str:
    """Say which row that the estimator refuses the graph answers; "" if none."""
    names = [spec.name for spec in graph.signature.outputs]
    for number in range(len(answers.refused[0].values) if answers.refused else 0):
        row = take(answers.refused, slice(number, number + 1))
        try:
            graph.predict(row, names)
        except Exception:  # noqa: BLE001, S112 (ONNX Runtime has classes of its own)
            continue
        shown = printable(_row(row, 0), 120)
        return f"the graph answers a row that scikit-learn refuses: {shown}"
    return ""


def _in_parts(graph: Predictor, answers: Answers, names: Sequence[str]) -> list[Array]:
    """Run a graph on all rows, a few at a time: a forest's needs memory for every leaf."""
    starts = range(0, answers.count, 2 * CHUNK)
    parts = [graph.predict(take(answers.rows, slice(i, i + 2 * CHUNK)), names) for i in starts]
    return [
        Array(parts[0][i].dtype, np.concatenate([part[i].values for part in parts]))
        for i in range(len(names))
    ]


def _same_alone(want: Array, alone: Sequence[Array], tolerances: Tolerances) -> bool:
    rows = [take([want], slice(i, i + 1))[0] for i in range(len(alone))]
    pairs = zip(rows, alone, strict=True)
    return not any(compare(one, other, tolerances).differing for one, other in pairs)


def _some(answers: Answers) -> range:
    return range(min(_ALONE, answers.count))


def _words(name: str, answers: Answers, got: Array, wrong: NDArray[Any]) -> str:
    want, first = answers.outputs[name], int(wrong[0])
    if want.values.shape != got.values.shape or want.dtype is not got.dtype:
        return (
            f"{name} is {got.dtype} {list(got.values.shape[1:])}, "
            f"not {want.dtype} {list(want.values.shape[1:])}"
        )
    return (
        f"{name} of {len(wrong):,} of {len(want.values):,} trial rows differs; the first, "
        f"{printable(_row(answers.rows, first), 120)}, gives {_shown(want, first)}, "
        f"but the graph {_shown(got, first)}"
    )


def _row(rows: Sequence[Array], number: int) -> str:
    values = [np.asarray(item.values[number]).tolist() for item in rows]
    return str(values[0] if len(values) == 1 else values)


def _shown(array: Array, number: int) -> str:
    return printable(str(array.values[number]), 60)
