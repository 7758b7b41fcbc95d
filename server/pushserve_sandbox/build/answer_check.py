"""Answer check: the same rows by every way that there is to a model, and again; all have to agree.

The ways are the served model itself, a worker's from bytes to bytes, two callers at once, and the
estimator's own methods on the data frame or array that its author would hand to them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from pushserve_runtime.build_error import BuildFailed, printable
from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import JobSpec
from pushserve_runtime.output_arrays import as_type, dense, to_array
from pushserve_runtime.signature import Layout
from pushserve_sandbox.build.trial_inputs import arrays_for
from pushserve_sandbox.build.worker_path import WorkerPath
from pushserve_sandbox.inspection.fitted_columns import takes_categories
from pushserve_sandbox.inspection.input_forms import is_fitted_on_names
from pushserve_sandbox.inspection.own_code import own_parts
from pushserve_sandbox.inspection.probing import attempt, same
from pushserve_sandbox.loading.load import Loaded
from pushserve_sandbox.onnx_compiler.proof.row_differences import Tolerances, compare
from pushserve_sandbox.prediction.author_input import author_input
from pushserve_sandbox.prediction.model_outputs import output_functions, quiet
from pushserve_sandbox.prediction.predictor import Predictor

Answers = Sequence[Array]

_CHANGES: Final = (
    "have its code change neither the model nor anything else while it predicts (no counters, no "
    "fitting in transform or predict), and set random_state where it draws numbers; where answers "
    "are meant to vary, say repeatable = false in pushserve.toml"
)
_OTHERWISE: Final = (
    "have its first step's fit set self.feature_names_in_ (fitted on a DataFrame) or "
    "self.n_features_in_ (on an array), or declare the dtype of each input in pushserve.toml "
    "([signature] inputs)"
)
_BESIDE: Final = (
    "say independent_rows = false in pushserve.toml: then the rows of each call are by themselves"
)
_VARIES: Final = (
    "predict.py gave another answer to the same row when it was asked again: callers get either"
)


_SLOW: Final = "it takes too long to be asked again, so whether its answers vary is not known"
_FULL: Final = 2
"""Groups that are asked again and by two callers: those of the examples and of what it shows."""
_FEW: Final = 4
"""Rows of the others, whose types differ, that take the way of a call."""
_LONG: Final = 1.0
"""Seconds of processor time for the rows of a group, which are few of a slow model."""


def check_answers(
    model: Any, loaded: Loaded, spec: JobSpec, groups: Sequence[Sequence[Any]]
) -> list[str]:
    """Ask about the trial inputs in `groups`; give in what way the answers vary, if they do.

    Raises:
        BuildFailed: ANSWERS_DIFFER, with the ways, the row and the output.
    """
    served = loaded.predictor
    if not spec.repeatable:
        return ["its answers vary, as the manifest says"]
    remarks: list[str] = []
    default = list(served.signature.default_outputs)
    # Of a library's others, some are by chance, as an RBM's score_samples.
    every = [output.name for output in served.signature.outputs] if _is_own(model) else default
    for number, rows in enumerate(groups):
        is_full = number < _FULL
        started = time.thread_time()
        names, first = _first_answers(served, rows, [every, default] if is_full else [default])
        if time.thread_time() - started > _LONG:  # it would be asked eight times more
            return [*remarks, _SLOW]
        with quiet():
            if is_full and not _is_same_again(served, rows, names, first):
                remarks = [_VARIES]
            elif loaded.engine == "worker" and not remarks:
                _check_worker(loaded, spec, rows if is_full else rows[:_FEW], names)
            if served.signature.layout is not Layout.RECORDS and model is not None:
                _check_author(model, served, rows, dict(zip(names, first, strict=True)))
    return remarks


def _is_own(model: Any) -> bool:
    return model is not None and next(own_parts(model), None) is not None


def _first_answers(
    served: Predictor, rows: Sequence[Any], choices: Sequence[list[str]]
) -> tuple[list[str], Answers]:
    """Give the first of these outputs that are not refused, with their names."""
    for names in choices:
        found = attempt(partial(served.predict, arrays_for(served.signature, rows), names))
        if not isinstance(found, BaseException):
            return names, found
    raise _raised("asked again", found, _CHANGES) from found


def _is_same_again(
    served: Predictor, rows: Sequence[Any], names: Sequence[str], first: Answers
) -> bool:
    """Ask about other rows, and about the same once more."""
    signature = served.signature
    attempt(lambda: served.predict(arrays_for(signature, list(rows)[::-1][:3]), names))
    again = attempt(lambda: served.predict(arrays_for(signature, rows), names))
    if isinstance(again, BaseException):
        raise _raised("asked again", again, _CHANGES) from again
    if signature.layout is Layout.RECORDS:
        return not any(True for _ in _differing(names, first, again, exact=True))
    for name, row, one, other in _differing(names, first, again, exact=True):
        raise _differ(rows[row], name, ("the first time", one), ("asked again", other), _CHANGES)
    return True


def _check_worker(loaded: Loaded, spec: JobSpec, rows: Sequence[Any], names: Sequence[str]) -> None:
    served, signature = loaded.predictor, loaded.predictor.signature
    path = WorkerPath(served, spec.folder, joins_calls=loaded.joins_calls)
    half = max(len(rows) // 2, 1)
    parts = [part for part in (rows[:half], rows[half:]) if part]
    want = attempt(lambda: [served.predict(arrays_for(signature, p), names) for p in parts])
    if isinstance(want, BaseException):
        return  # without a null that stands in the other half, a column has another type
    got = attempt(lambda: path.predict_each([arrays_for(signature, p) for p in parts], names))
    if isinstance(got, BaseException):
        raise _raised("as a worker's call", got, _CHANGES) from got
    for part, one, other in zip(parts, want, got, strict=True):
        for name, row, a, b in _differing(names, one, other, exact=not loaded.joins_calls):
            raise _differ(part[row], name, ("alone", a), ("beside another caller", b), _BESIDE)


def _check_author(
    model: Any, served: Predictor, rows: Sequence[Any], answers: Mapping[str, Array]
) -> None:
    """Hold default outputs' `answers` against the estimator's; it may refuse what is made here."""
    signature = served.signature
    named = is_fitted_on_names(model)
    if not named and any(value is None or type(value) is bool for row in rows for value in row):
        return  # an array of objects, or of numbers: nobody can tell which it was
    functions = output_functions(model)
    categorical = takes_categories(model)

    def own(name: str) -> Array:
        handed = author_input(signature, rows, categorical, named=named)
        given = to_array(dense(functions[name](handed), len(rows)))
        return as_type(given, answers[name].dtype)

    for name in signature.default_outputs:
        if name not in functions:
            continue
        want = attempt(lambda name=name: own(name))  # type: ignore[misc]
        if isinstance(want, BaseException):
            return
        for _, row, a, b in _differing([name], [want], [answers[name]], exact=False):
            itself = f"asked itself, by {'a DataFrame' if named else 'an array'}"
            raise _differ(rows[row], name, (itself, a), ("as it is served", b), _OTHERWISE)


def _differing(
    names: Sequence[str], want: Answers, got: Answers, *, exact: bool
) -> Iterator[tuple[str, int, Any, Any]]:
    """Give output, row and both answers where two ways differ."""
    for name, one, other in zip(names, want, got, strict=True):
        for row in _rows_that_differ(name, one, other, exact=exact)[:1]:
            yield name, row, one.values[row], other.values[row]


def _rows_that_differ(name: str, one: Array, other: Array, *, exact: bool) -> list[int]:
    if not exact:
        wrong: list[int] = np.flatnonzero(
            compare(one, other, Tolerances.of(name, one)).rows
        ).tolist()
        return wrong
    if same(one.values, other.values):
        return []
    pairs = zip(one.values, other.values, strict=True)
    return [row for row, (a, b) in enumerate(pairs) if not same(a, b)]


def _differ(
    row: Any, name: str, first: tuple[str, Any], other: tuple[str, Any], fix: str
) -> BuildFailed:
    return BuildFailed(
        "ANSWERS_DIFFER",
        f"the row {_shown(row)} has two answers in the output {name}: {first[0]} "
        f"{_shown(first[1])}, {other[0]} {_shown(other[1])}",
        fix,
    )


def _raised(how: str, error: BaseException, fix: str) -> BuildFailed:
    text = printable(f"{type(error).__name__}: {error}")
    return BuildFailed(
        "ANSWERS_DIFFER", f"{how}, the model raised on rows that it has answered: {text}", fix
    )


def _shown(value: Any) -> str:
    plain: Callable[[], Any] | None = getattr(value, "tolist", None)
    return printable(json.dumps(plain() if plain else value, default=str), 200)
