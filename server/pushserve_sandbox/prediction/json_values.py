"""JSON values: what a `predict.py` gives, brought into plain JSON values that a caller can be sent.

An answer travels as `google.protobuf.Struct`: its numbers are float64, its texts Unicode, and
readers of protobuf follow a hundred levels and no more. What does not fit is found here, so
also when a build runs the examples, and named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

LEVELS: Final = 98
"""Of messages inside of one Struct; a PredictStreamResponse has two around it."""
_PER_OBJECT: Final = 3
_PER_LIST: Final = 2
_MOST_OBJECTS: Final = (LEVELS + 1) // _PER_OBJECT
_MOST_LISTS: Final = (LEVELS + 1 - _PER_OBJECT) // _PER_LIST
"""In one object."""
_LEAST: Final = 4
"""Bytes that a value takes at the least."""
_MANY: Final = 64
_LARGE_INTEGER: Final = 2**1000
"""Well within float64."""


class NotJson(TypeError):
    """A `predict.py` gave something that JSON, or an answer, cannot hold."""


class TooLarge(NotJson):
    """An answer is larger than one may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the answer takes more than {limit} bytes, the most for one call; send fewer rows at "
            "a time, or have the model give less"
        )


def json_object(value: Any, limit: int) -> dict[str, Any]:
    """Bring one row's result into plain JSON values; NumPy's and pandas' become lists and numbers.

    NaN and the infinities become None, as JSON has none. `limit` is in bytes: what surely takes
    more is given up before it is copied.

    Raises:
        NotJson: it is no object, or a part of it cannot be sent; the text names that.
        TooLarge: it is too large.
    """
    converted = _Conversion(limit).value(value, -1)
    if not isinstance(converted, dict):
        raise NotJson(f"a row's result is an object (dict); this is {_named(value)}")
    return converted


class _Conversion:
    """Of one row, with what may be left of its size."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def value(self, value: Any, level: int) -> Any:
        """Convert a part that stands so many levels below the Struct."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, str | int | float):
            return self._text(value) if isinstance(value, str) else _number(value)
        if isinstance(value, dict):
            level = self._deeper(level + _PER_OBJECT, len(value))
            return {self._text(_key(k)): self.value(item, level) for k, item in value.items()}
        if isinstance(value, list | tuple):
            level = self._deeper(level + _PER_LIST, len(value))
            if len(value) > _MANY and _are_plain_numbers(value):
                return list(value)
            return [self.value(item, level) for item in value]
        if isinstance(value, np.ndarray) or hasattr(value, "to_numpy"):
            array = np.asarray(value)
            self._take(0 if array.ndim == 0 else _LEAST * array.size)
            return self.value(array.tolist(), level)
        raise NotJson(f"{_named(value)} is not a JSON value")

    def _deeper(self, level: int, items: int) -> int:
        if level > LEVELS:
            raise NotJson(
                f"values are nested too deep: {_MOST_OBJECTS} objects in each other are the most, "
                f"or {_MOST_LISTS} lists"
            )
        self._take(_LEAST * items)
        return level

    def _text(self, text: str) -> str:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise NotJson("a text holds half of a surrogate pair, which is no text") from None
        self._take(len(text))
        return str(text)

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge(self._limit)


def _are_plain_numbers(items: Sequence[Any]) -> bool:
    """Whether all may be sent as they are: a tenth of the time that looking at each takes."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return bool(np.isfinite(items).all())
    return kinds == {int} and min(items) > -_LARGE_INTEGER and max(items) < _LARGE_INTEGER


def _number(value: float | None) -> float | None:
    """Give a number, truth value or None as JSON has it."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    try:
        float(value or 0)
    except OverflowError:
        raise NotJson("a whole number is beyond float64, in which numbers are sent") from None
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float | np.number | np.bool_):
        try:
            return str(key.item() if isinstance(key, np.generic) else key)
        except ValueError:  # Python turns no integer of more than 4,300 digits into text
            raise NotJson("a key is a whole number of thousands of digits") from None
    raise NotJson(f"a key of type {type(key).__qualname__} is not a JSON key")


def _named(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
