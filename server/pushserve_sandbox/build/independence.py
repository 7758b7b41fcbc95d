"""Independence of rows: whether a row's answer is the same whatever rows are asked with it.

Only then may a worker join the rows of several callers. A library's code is known to be so, but
for last digits. Of people's own code it is tried: every part of the model that runs some is asked
about the same rows alone, together, in halves and shuffled, and has to give the same bits.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from pushserve_runtime.build_error import printable
from pushserve_runtime.frames import Array
from pushserve_sandbox.build.trial_inputs import arrays_for
from pushserve_sandbox.inspection.library_types import reachable
from pushserve_sandbox.inspection.own_code import METHODS, answers, is_known, own_parts
from pushserve_sandbox.inspection.probing import attempt, same
from pushserve_sandbox.loading.predict_py import RecordsPredictor
from pushserve_sandbox.onnx_compiler.proof.row_differences import Tolerances, compare
from pushserve_sandbox.prediction.model_outputs import quiet
from pushserve_sandbox.prediction.predictor import EstimatorPredictor, Predictor

ALONE: Final = 8
"""Rows that are asked about one by one."""
SECONDS: Final = 3.0
"""Of processor time, after which nothing is proved."""
_SHORT: Final = 0.1
"""Likewise, for a library's code alone: one row more is asked about."""
_MOST_GROUPS: Final = 4
_WHOLE_GROUPS: Final = 2
"""On which a model is tried whose parts are, each by itself: its others are a library's."""
_LEAST: Final = 2
_FEW: Final = 4
_ITERATING: Final = "sklearn.decomposition._nmf"
"""Where scikit-learn has those that work on all rows until their sum changes no more."""
_CONTAINERS: Final = frozenset({"Pipeline", "ColumnTransformer", "FeatureUnion"})
_UNKNOWN: Final = "that its rows are independent is not proved: "


def why_dependent(model: Any, predictor: Predictor, groups: Sequence[Sequence[Any]]) -> str:
    """Say why calls are not joined: a row's answer depends on others, or may; "" for never.

    `groups` are the trial inputs. `predictor` asks the model itself, without a fast path.
    """
    if isinstance(predictor, RecordsPredictor) and predictor.by_row:
        return ""
    parts = list(own_parts(model)) if isinstance(predictor, EstimatorPredictor) else []
    is_own = bool(parts) or not isinstance(predictor, EstimatorPredictor)
    if is_own and max(map(len, groups), default=0) < _LEAST:
        return _UNKNOWN + "no two rows are known that it takes"
    started = time.thread_time()
    for number, rows in enumerate(groups[:_MOST_GROUPS]):
        arrays = arrays_for(predictor.signature, rows)
        with quiet():
            found = _in_parts(model, predictor, parts, arrays)
            if not found and (number < _WHOLE_GROUPS or not parts):
                found = _as_a_whole(predictor, rows, is_own=is_own)
        if found:
            return found
        if is_own and time.thread_time() - started > SECONDS:
            return _UNKNOWN + "it takes too long to be tried"
    return ""


def _in_parts(
    model: Any, predictor: Predictor, parts: Sequence[Any], arrays: Sequence[Array]
) -> str:
    if not isinstance(predictor, EstimatorPredictor):
        return ""
    iterating = [item for item in reachable(model) if type(item).__module__ == _ITERATING]
    if iterating:
        return f"its {_named(iterating[0])} works on all rows at once"
    behind = "thresholds behind the answers of others" if _stacked_thresholds(model) else ""
    compared = [] if behind else [p for p in _before_thresholds(model) if p not in parts]
    calls: list[_Call] = []
    if parts or compared:
        with _watched([*parts, *compared], model) as calls:
            answered = attempt(partial(_ask_all, predictor, arrays))
        if isinstance(answered, BaseException):
            return _UNKNOWN + "it raised on rows that it took before"
    calls += _calls_of_the_whole(model, predictor, parts, arrays)
    if parts and not calls:
        return _UNKNOWN + "its own code was not seen at work"
    for call in calls:
        if not _is_independent(call):
            what = "answers a row otherwise beside other rows than alone"
            return f"its {_named(call.part)} {what}"
    return f"it has {behind}" if behind else ""


def _ask_all(predictor: EstimatorPredictor, arrays: Sequence[Array]) -> None:
    for spec in predictor.signature.outputs:
        predictor.predict(copy.deepcopy(list(arrays)), [spec.name])


@dataclass(slots=True)
class _Call:
    """One call of a part: what it was handed."""

    part: Any
    function: Callable[..., Any]
    data: Any
    more: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)


@contextmanager
def _watched(parts: Sequence[Any], model: Any) -> Iterator[list[_Call]]:
    """Note the first call of each method of the parts, while they are at work in the model."""
    calls: list[_Call] = []
    with ExitStack() as stack:
        for part in parts:
            if part is not model:
                for name in METHODS:
                    stack.enter_context(_noted(part, name, calls))
        yield calls


@contextmanager
def _noted(part: Any, name: str, calls: list[_Call]) -> Iterator[None]:
    values = getattr(part, "__dict__", None)
    function = attempt(lambda: getattr(part, name))
    if values is None or isinstance(function, BaseException) or not callable(function):
        yield
        return
    before = {name: values[name]} if name in values else {}

    def noting(data: Any, *more: Any, **named: Any) -> Any:
        if all(call.function is not function for call in calls):
            calls.append(_Call(part, function, copy.deepcopy(data), more, named))
        return function(data, *more, **named)

    values[name] = noting
    try:
        yield
    finally:
        values.pop(name, None)
        values.update(before)


def _calls_of_the_whole(
    model: Any, predictor: EstimatorPredictor, parts: Sequence[Any], arrays: Sequence[Array]
) -> list[_Call]:
    """Give the calls of a model that is itself people's own."""
    if not any(part is model for part in parts):
        return []
    data = predictor.build_input(copy.deepcopy(list(arrays)))
    return [_Call(model, function, data) for function in predictor.functions.values()]


def _is_independent(call: _Call) -> bool:
    count = _count(call.data)
    order = np.random.default_rng(count).permutation(count)
    half = count // 2
    pieces = [np.arange(count), order, np.arange(half), np.arange(half, count)]
    pieces += [np.array([row]) for row in range(min(count, ALONE))]
    result = attempt(partial(_answers_of_pieces, call, [p for p in pieces if len(p)]))
    return result is True


def _answers_of_pieces(call: _Call, pieces: Sequence[Any]) -> bool:
    whole = _plain(call.function(copy.deepcopy(call.data), *call.more, **call.named))
    for piece in pieces:
        data = copy.deepcopy(_rows_of(call.data, piece))
        answer = _plain(call.function(data, *call.more, **call.named))
        if answer.dtype.kind != whole.dtype.kind or not _equal(whole[piece], answer):
            return False
    return True


def _equal(want: Any, got: Any) -> bool:
    if want.dtype != object or want.shape != got.shape:
        return same(want, got)
    pairs = zip(want.reshape(-1).tolist(), got.reshape(-1).tolist(), strict=True)
    return all(a is b or a == b or (a != a and b != b) for a, b in pairs)  # noqa: PLR0124


def _count(data: Any) -> int:
    shape = getattr(data, "shape", None)
    return int(shape[0]) if shape else len(data)


def _rows_of(data: Any, numbers: Any) -> Any:
    """Take some rows, which stand as those of a call do."""
    if hasattr(data, "iloc"):
        return data.iloc[numbers].reset_index(drop=True)
    if isinstance(data, list | tuple):
        return [data[number] for number in numbers]
    return data[numbers]


def _plain(answer: Any) -> Any:
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    if isinstance(answer, list) and answer and isinstance(answer[0], np.ndarray):
        answer = np.hstack(answer)
    return np.asarray(answer)


def _as_a_whole(predictor: Predictor, rows: Sequence[Any], *, is_own: bool) -> str:
    """Compare what rows give alone with what they give together.

    Of a library's code, few rows tell: it is known but for the classes whose answers are by chance.
    """
    started = time.thread_time()
    names = list(predictor.signature.default_outputs)
    together = _answers(predictor, names, rows)
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    alone = range(min(len(rows), ALONE if is_own else _FEW))
    exact = isinstance(predictor, RecordsPredictor)
    for piece in ([order] if is_own else []) + [np.array([row]) for row in alone]:
        found = _answers(predictor, names, [rows[number] for number in piece])
        for name, want, got in zip(names, together, found, strict=True):
            if got is None and not is_own:
                continue  # a row alone has other types than beside a null, and is never joined
            if not _alike(name, want, got, piece, exact=exact):
                return f"the {name} of a row depends on the rows that it is asked with"
        if not is_own and time.thread_time() - started > _SHORT:
            break
    return ""


def _answers(predictor: Predictor, names: Sequence[str], rows: Sequence[Any]) -> list[Any]:
    """Give the outputs; None where it raises, which it may on single ones of many."""
    found = attempt(lambda: predictor.predict(arrays_for(predictor.signature, rows), names))
    return [None] * len(names) if isinstance(found, BaseException) else found


def _alike(name: str, want: Any, got: Any, piece: Any, *, exact: bool) -> bool:
    if want is None or got is None:
        return want is got
    part = Array(want.dtype, want.values[piece])
    if exact:
        return same(part.values, got.values)
    return not compare(part, got, Tolerances.of(name, want)).rows.any()


def _before_thresholds(model: Any) -> Iterator[Any]:
    """Give a library's transformers whose numbers a later step compares with its thresholds."""
    for item in reachable(model):
        steps = getattr(item, "steps", None)
        if type(item).__name__ != "Pipeline" or not isinstance(steps, list):
            continue
        last = max((i for i, step in enumerate(steps) if i and _compares(step[1])), default=0)
        for _, step in steps[:last]:
            yield from (part for part in reachable(step) if _is_transformer(part))


def _is_transformer(item: Any) -> bool:
    transforms = answers(item) and hasattr(type(item), "transform")
    return transforms and is_known(item) and type(item).__name__ not in _CONTAINERS


def _compares(step: Any) -> bool:
    """Whether it has thresholds; so it is said of all where there is no compiler to know them."""
    if step is None or isinstance(step, str):
        return False
    try:
        from pushserve_sandbox.onnx_compiler.graph.marks import Mark  # noqa: PLC0415
    except ImportError:
        return True
    return Mark(0, step).compares


def _stacked_thresholds(model: Any) -> bool:
    """Whether answers of estimators, whose last digits vary, are compared with thresholds."""
    return any(
        hasattr(item, "final_estimator_") and _compares(item.final_estimator_)
        for item in reachable(model)
    )


def _named(part: Any) -> str:
    name = type(part).__name__
    function = getattr(part, "func", None)
    inner = getattr(function, "__name__", "")
    return printable(f"{name}({inner})" if inner else name, 120)
