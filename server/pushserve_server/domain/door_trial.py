"""Door trial: rows for every door of a new version, and what its build says that they give.

The child of a build makes it, which has run a stranger's code: its form is checked before it is
stored, and all that can be wrong with it then is that the version fails.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pushserve_runtime.signature import Layout, Signature

ANSWERS_DIFFER: Final = "ANSWERS_DIFFER"
"""The reason of a version that answers a trial otherwise; its text in the registry begins so."""
TRIALS_KEY: Final = "door_trials"
"""Where it is in a bundle's description."""
_MOST_BYTES: Final = 256 * 1024
_MOST_ROWS: Final = 32
_MOST_TRIALS: Final = 16
"""Two, and two for each kind of value that a column of open type is tried with."""

Row = list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class DoorTrial:
    """Some rows, and the answers by output, one for each row; none where these may vary.

    `answers` is None where the build's process does not decide (a `predict.py` may say when it was
    started): then the doors have to agree with each other. A row has the plain values of the
    features in their order, None for null; of a `predict.py`, it is an object.
    """

    rows: tuple[Row, ...]
    answers: Mapping[str, list[Any]] | None


def trials_from_json(data: Any, signature: Signature) -> tuple[DoorTrial, ...]:
    """Read what a build has made, or a bundle holds.

    Raises:
        ValueError: it does not have that form.
    """
    if not isinstance(data, list) or len(data) > _MOST_TRIALS:
        raise ValueError("no list of few trials")
    if len(json.dumps(data)) > _MOST_BYTES:
        raise ValueError("more bytes than are kept")
    return tuple(_trial(item, signature) for item in data)


def _trial(item: Any, signature: Signature) -> DoorTrial:
    rows, answers = (item.get("rows"), item.get("answers")) if isinstance(item, dict) else (0, 0)
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_ROWS:
        raise ValueError("no rows")
    if not all(_is_row(row, signature) for row in rows):
        raise ValueError("no row of the signature")
    if answers is None:
        return DoorTrial(tuple(rows), None)
    if not isinstance(answers, dict) or not set(answers) <= set(signature.default_outputs):
        raise ValueError("answers of no output")
    if any(not isinstance(items, list) or len(items) != len(rows) for items in answers.values()):
        raise ValueError("not an answer for each row")
    return DoorTrial(tuple(rows), answers)


def _is_row(row: Any, signature: Signature) -> bool:
    if signature.layout is Layout.RECORDS:
        return isinstance(row, dict)
    return (
        isinstance(row, list)
        and len(row) == len(signature.inputs)
        and all(_is_plain(value) for value in row)
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str)
