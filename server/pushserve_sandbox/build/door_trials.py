"""Door trials: rows with their answers, by which the servers ask a new version at every door."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any, Final

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import Layout
from pushserve_sandbox.build.trial_inputs import arrays_for
from pushserve_sandbox.inspection.probing import attempt
from pushserve_sandbox.prediction.predictor import Predictor

_ROWS: Final = 6
_MOST_BYTES: Final = 100_000
_MOST_IN_ALL: Final = 200_000
"""Less than a server takes of them."""
_QUICK: Final = 0.25
"""Seconds of processor time for the rows of a trial; of a slower model, one row is asked."""


def door_trials(
    served: Predictor, groups: Sequence[Sequence[Any]], *, varies: bool
) -> list[dict[str, Any]]:
    """Give for each group some rows and their answers by output; none of a model that varies.

    Those of a `predict.py` are left to its workers: it may say when its process was started.
    """
    found, size = [], 0
    for group in groups:
        rows = [row for row in group if _can_be_sent(row)][:_ROWS]
        for some in (rows, rows[:1]):
            trial = _trial(served, some, varies=varies) if some else None
            length = len(json.dumps(trial))
            if trial is None or length <= _MOST_BYTES:
                break
        if trial is not None and length <= min(_MOST_BYTES, _MOST_IN_ALL - size):
            found.append(trial)
            size += length
    return found


def _trial(served: Predictor, rows: Sequence[Any], *, varies: bool) -> dict[str, Any] | None:
    signature = served.signature
    names = signature.default_outputs
    started = time.thread_time()
    answers = attempt(lambda: served.predict(arrays_for(signature, rows), names))
    if isinstance(answers, BaseException):
        return None
    if len(rows) > 1 and time.thread_time() - started > _QUICK:
        return _trial(served, rows[:1], varies=varies)
    pairs = [] if varies else list(zip(names, answers, strict=True))
    by_name = {name: array.values.tolist() for name, array in pairs if _is_finite(array)}
    is_script = signature.layout is Layout.RECORDS and not varies
    return {"rows": list(rows), "answers": None if is_script else by_name}


def _is_finite(array: Array) -> bool:
    flat = array.values.reshape(-1).tolist()
    return all(math.isfinite(item) for item in flat if isinstance(item, float))


def _can_be_sent(row: Any) -> bool:
    """Whether plain JSON holds it: a number that is no number, or half of a surrogate, is none."""
    try:
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError):
        return False
    if isinstance(row, dict):
        return True
    return all(-(2**63) <= item < 2**63 for item in row if type(item) is int)
