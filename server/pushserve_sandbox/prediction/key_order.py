"""Key order of objects: the one that a `predict.py` may count on, whichever way they came.

Objects of protobuf have no order: the same row comes in another one each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_DEEPEST: Final = 64


class KeyOrder:
    """Puts a row's keys into the declared order, else the first example's, else sorted.

    Keys that neither has come behind, sorted. Objects inside of a row follow the example, too.
    """

    def __init__(self, names: Sequence[str], example: Any) -> None:
        shape = _shape(example, 0)
        known: Mapping[str, Any] = shape if isinstance(shape, dict) else {}
        self._shape = {name: known.get(name) for name in names} | dict(known)

    def __call__(self, row: Any) -> Any:
        """Give the row in that order; it is not changed."""
        return _ordered(row, self._shape)


def _shape(value: Any, depth: int) -> Any:
    """Keep the keys of an object, and of the objects in it; of a list, what its first item has."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {key: _shape(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and value:
        return _shape(value[0], depth + 1)
    return None


def _ordered(value: Any, shape: Any) -> Any:
    if isinstance(value, dict):
        known = shape if isinstance(shape, dict) else {}
        keys = [key for key in known if key in value]
        if len(keys) < len(value):
            keys += sorted(key for key in value if key not in known)
        return {key: _ordered(value[key], known.get(key)) for key in keys}
    if isinstance(value, list):
        return [_ordered(item, shape) for item in value]
    return value
