"""Columns: one column converted to the type that the signature names, or refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature
from pushserve_server.errors import BadInput, Violation

MOST_VIOLATIONS: Final = 20


@dataclass(frozen=True, slots=True)
class GivenColumn:
    """A column as the caller gave it.

    `values` is a float64, int64 or bool array, or an object array of `str` or of JSON
    values, of shape [rows]. `nulls` is a bool array [rows] or None.
    """

    name: str
    values: NDArray[Any]
    nulls: NDArray[np.bool_] | None = None


class Violations:
    """Collects what is wrong, so that a caller is told all of it at once."""

    def __init__(self) -> None:
        self._items: list[Violation] = []
        self._reason = ""

    def add(self, column: str, what: str, reason: str) -> None:
        """Note that `column` is wrong. The first reason becomes the error's."""
        self._reason = self._reason or reason
        if len(self._items) < MOST_VIOLATIONS:
            self._items.append(Violation(column, what))

    def check(self) -> None:
        """Raise `BadInput` if anything was noted."""
        if self._items:
            first = self._items[0]
            more = f" (and {len(self._items) - 1} more)" if len(self._items) > 1 else ""
            message = f"column {first.field!r}: {first.description}{more}"
            raise BadInput(message, self._items, reason=self._reason)


def coerce(feature: Feature, given: GivenColumn, rows: int, found: Violations) -> Array | None:
    """Give the column as the feature's type; None (and a violation) where it does not fit.

    Whole numbers are taken for either number type; text never for a number.
    """
    values, nulls = given.values, given.nulls
    if len(values) != rows:
        return None
    if nulls is not None and not feature.nullable:
        row = int(np.flatnonzero(nulls)[0])
        found.add(feature.name, f"null in row {row}, where a {feature.dtype} is expected", "NULL")
        return None
    converted = _convert(feature, values, nulls, found)
    if converted is None:
        return None
    if feature.categories:
        _check_categories(feature, converted, nulls, found)
    return Array(feature.dtype, converted, nulls)


def _convert(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> NDArray[Any] | None:
    dtype, kind = feature.dtype, values.dtype.kind
    if dtype is DType.JSON:
        return values.astype(object)
    if dtype is DType.STRING:
        return values if kind == "O" else _wrong_type(feature, kind, found)
    if dtype is DType.BOOL:
        return values if kind == "b" else _wrong_type(feature, kind, found)
    if kind not in "fib":
        return _wrong_type(feature, kind, found)
    if dtype in (DType.FLOAT64, DType.FLOAT32):
        result = values.astype(np.float64 if dtype is DType.FLOAT64 else np.float32, copy=False)
        return result if check_numbers(feature, result, nulls, found) else None
    return _whole_numbers(feature, values, nulls, found)


def _whole_numbers(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> NDArray[Any] | None:
    target = np.int64 if feature.dtype is DType.INT64 else np.int32
    present = values if nulls is None else values[~nulls]
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(present) & (np.floor(present) == present)))
        if len(wrong):
            value = float(present[wrong[0]])
            found.add(feature.name, f"{value} is not a whole number", "WRONG_DTYPE")
            return None
    limits = np.iinfo(target)
    # float(max) rounds up to 2**63, which int64 does not hold.
    too_large = present >= float(limits.max) if values.dtype.kind == "f" else present > limits.max
    if len(present) and bool(np.any(too_large | (present < limits.min))):
        found.add(feature.name, f"a value is outside of {feature.dtype}", "WRONG_DTYPE")
        return None
    if nulls is not None:
        values = np.where(nulls, 0, values)
    return values.astype(target)


def check_numbers(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> bool:
    """Say whether every number is finite, or NaN where the feature is nullable."""
    wrong = np.isinf(values) if feature.nullable else ~np.isfinite(values)
    if nulls is not None:
        wrong &= ~nulls
    rows = np.flatnonzero(wrong)
    if len(rows) == 0:
        return True
    row = int(rows[0])
    value = "NaN" if np.isnan(values[row]) else "infinity"
    found.add(feature.name, f"{value} in row {row}; expected a finite number", "NOT_FINITE")
    return False


def _check_categories(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> None:
    known = set(feature.categories)
    for row, value in enumerate(values.tolist()):
        if value not in known and not (nulls is not None and nulls[row]):
            expected = shorten([str(c) for c in feature.categories])
            what = f"{_quoted(value)} in row {row} is not a known category; expected {expected}"
            found.add(feature.name, what, "UNKNOWN_CATEGORY")
            return


_KINDS: Final = {"f": "float64", "i": "int64", "b": "bool", "O": "string"}


def _wrong_type(feature: Feature, kind: str, found: Violations) -> NDArray[Any] | None:
    given = _KINDS.get(kind, kind)
    found.add(feature.name, f"expected {feature.dtype}, got {given}", "WRONG_DTYPE")
    return None


def column_of(feature: Feature, values: Sequence[Any], found: Violations) -> GivenColumn:
    """Make a column of JSON values; None is null. A value of the wrong kind is noted."""
    rows = len(values)
    if feature.dtype is DType.JSON:
        return GivenColumn(feature.name, _objects(values))
    wanted, blank, build = _JSON_FORMS[feature.dtype]
    nulls = np.zeros(rows, bool)
    filled: list[Any] = [blank] * rows
    for row, value in enumerate(values):
        if value is None:
            nulls[row] = True
        elif isinstance(value, bool) is not (wanted is bool) or not isinstance(value, wanted):
            got = type(value).__name__
            what = f"expected {feature.dtype}, got {_JSON_NAMES.get(got, got)} in row {row}"
            found.add(feature.name, what, "WRONG_DTYPE")
            break
        else:
            filled[row] = value
    return GivenColumn(feature.name, build(filled), nulls if nulls.any() else None)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _floats(values: Sequence[Any]) -> NDArray[Any]:
    return np.array(values, np.float64)


_JSON_FORMS: Final[dict[DType, tuple[Any, Any, Any]]] = {
    DType.FLOAT64: ((int, float), 0.0, _floats),
    DType.FLOAT32: ((int, float), 0.0, _floats),
    DType.INT64: ((int, float), 0.0, _floats),
    DType.INT32: ((int, float), 0.0, _floats),
    DType.BOOL: (bool, False, lambda values: np.array(values, bool)),
    DType.STRING: (str, "", _objects),
}
_JSON_NAMES: Final = {"str": "string", "float": "number", "int": "number", "dict": "object"}


def as_list(array: Array) -> list[Any]:
    """Give the values as Python objects, None where null."""
    return _listed(array.values, array.nulls)


def given_list(column: GivenColumn) -> list[Any]:
    """Give the values as Python objects, None where null."""
    return _listed(column.values, column.nulls)


def _listed(values: NDArray[Any], nulls: NDArray[np.bool_] | None) -> list[Any]:
    items: list[Any] = values.tolist()
    if nulls is not None:
        items = [None if null else item for item, null in zip(items, nulls.tolist(), strict=True)]
    return items


def shorten(names: Sequence[str], most: int = 8) -> str:
    """List names for a message, the first `most` of them."""
    listed = ", ".join(_quoted(name) for name in names[:most])
    return listed if len(names) <= most else f"{listed}, … ({len(names)} in all)"


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
