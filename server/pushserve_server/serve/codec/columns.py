"""Columns: one column converted to the type that the signature names, or refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array, number_array
from pushserve_runtime.open_columns import EXACT, blanks
from pushserve_runtime.signature import Accepts, DType, Feature
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

    Numbers and truth values are taken for each other as scikit-learn takes them (0 and 1 alone
    for truth values); text never for a number. Of a feature whose type is open, the column keeps
    its own. Nulls fit every type.
    """
    if len(given.values) != rows:
        return None
    values, nulls = _without_nulls(feature, given)
    if nulls is not None and not feature.nullable:
        row = int(np.flatnonzero(nulls)[0])
        found.add(feature.name, f"null in row {row}, where {_wanted(feature)} is expected", "NULL")
        return None
    if feature.accepts is not Accepts.DTYPE:
        return _as_sent(feature, values, nulls, found)
    converted = _convert(feature, values, nulls, found)
    if converted is None:
        return None
    if feature.categories:
        _check_categories(feature, converted, nulls, found)
    return Array(feature.dtype, converted, nulls)


def _wanted(feature: Feature) -> str:
    return f"a {feature.dtype}" if feature.accepts is Accepts.DTYPE else "a value"


def _without_nulls(
    feature: Feature, given: GivenColumn
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Take NaN for null where no float is meant, and a column of nulls alone for any type."""
    values, nulls = given.values, given.nulls
    if values.dtype.kind == "f" and not _is_float(feature):
        missing = np.isnan(values)
        if missing.any():
            nulls = missing if nulls is None else nulls | missing
    if nulls is not None and nulls.all():
        values = blanks(feature.dtype, len(values))
    return values, nulls


def _is_float(feature: Feature) -> bool:
    dtype = feature.dtype
    return dtype is DType.FLOAT64 or dtype is DType.FLOAT32 or feature.is_open


def _as_sent(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> Array | None:
    """Keep a column's own type, of those that a frame between processes has."""
    if values.dtype.kind == "O":
        if feature.accepts is Accepts.NUMBERS:
            found.add(feature.name, "expected numbers, got string", "WRONG_DTYPE")
            return None
        kinds = set(map(type, values.tolist() if nulls is None else values[~nulls].tolist()))
        return Array(DType.STRING if kinds <= {str} else DType.JSON, values, nulls)
    if values.dtype.kind == "f" and not check_numbers(feature, values, nulls, found):
        return None
    return Array(number_array(values).dtype, values, nulls)


def _convert(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> NDArray[Any] | None:
    dtype, kind = feature.dtype, values.dtype.kind
    if dtype is DType.JSON:
        return values.astype(object)
    if dtype is DType.STRING:
        return values if kind == "O" else _wrong_type(feature, kind, found)
    if kind not in "fib":
        return _wrong_type(feature, kind, found)
    if dtype is DType.BOOL:
        return values if kind == "b" else _truth_values(feature, values, nulls, found)
    if dtype in (DType.FLOAT64, DType.FLOAT32):
        result = values.astype(np.float64 if dtype is DType.FLOAT64 else np.float32, copy=False)
        return result if check_numbers(feature, result, nulls, found) else None
    return _whole_numbers(feature, values, nulls, found)


def _truth_values(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> NDArray[Any] | None:
    """Take 1 and 0 for true and false, as scikit-learn does."""
    wrong = (values != 0) & (values != 1)
    if nulls is not None:
        wrong &= ~nulls
    rows = np.flatnonzero(wrong)
    if len(rows):
        what = f"{values[rows[0]]} in row {rows[0]} is no truth value (nor 0 nor 1)"
        found.add(feature.name, what, "WRONG_DTYPE")
        return None
    truth: NDArray[np.bool_] = np.equal(values, 1)
    return truth


def _whole_numbers(
    feature: Feature, values: NDArray[Any], nulls: NDArray[np.bool_] | None, found: Violations
) -> NDArray[Any] | None:
    target = np.int64 if feature.dtype is DType.INT64 else np.int32
    if nulls is None and values.dtype == target:
        return values
    if nulls is not None:
        values = np.where(nulls, 0, values)
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(values) & (np.floor(values) == values)))
        if len(wrong):
            value = float(values[wrong[0]])
            found.add(feature.name, f"{value} is not a whole number", "WRONG_DTYPE")
            return None
        lost = np.flatnonzero((np.abs(values) >= EXACT) & (np.abs(values) < 2.0**63))
        if len(lost):
            what = (
                f"{values[lost[0]]:.0f} in row {lost[0]} may have lost digits: it came as a "
                "float64, which holds whole numbers up to 2^53; send int64"
            )
            found.add(feature.name, what, "INEXACT_NUMBER")
            return None
    limits = np.iinfo(target)
    # float(max) rounds up to 2**63, which int64 does not hold.
    too_large = values >= float(limits.max) if values.dtype.kind == "f" else values > limits.max
    if bool(np.any(too_large | (values < limits.min))):
        found.add(feature.name, f"a value is outside of {feature.dtype}", "WRONG_DTYPE")
        return None
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
