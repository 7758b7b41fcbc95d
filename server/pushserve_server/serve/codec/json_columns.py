"""JSON columns: one column of a request's rows, read as JSON has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.open_columns import may_have_lost_digits, open_column, whole
from pushserve_runtime.signature import DType, Feature
from pushserve_server.serve.codec.columns import GivenColumn, Violations


def column_of(feature: Feature, values: Sequence[Any], found: Violations) -> GivenColumn:
    """Make a column of JSON values; None is null. A value of the wrong kind is noted.

    Numbers of JSON are float64: from 2**53 on, where they may have lost digits, none is taken for
    a whole number, which a text may hold instead.
    """
    rows = len(values)
    if feature.dtype is DType.JSON:
        exact = [exact_value(feature.name, v, row, found) for row, v in enumerate(values)]
        return GivenColumn(feature.name, _objects(exact))
    if feature.is_open:
        return _open_column(feature, values, found)
    if feature.dtype in (DType.INT64, DType.INT32):
        values = _exact(feature, values, found)
    wanted, blank, build = _JSON_FORMS[feature.dtype]
    nulls = np.zeros(rows, bool)
    filled: list[Any] = [blank] * rows
    for row, value in enumerate(values):
        if value is None:
            nulls[row] = True
        elif isinstance(value, wanted):
            filled[row] = value
        else:
            got = type(value).__name__
            what = f"expected {feature.dtype}, got {_JSON_NAMES.get(got, got)} in row {row}"
            found.add(feature.name, what, "WRONG_DTYPE")
            break
    return GivenColumn(feature.name, build(filled), nulls if nulls.any() else None)


def exact_record(record: Mapping[str, Any], row: int, found: Violations) -> dict[str, Any]:
    """Give one row of a `predict.py` that declares no inputs, with whole numbers as ints."""
    return {name: exact_value(name, value, row, found) for name, value in record.items()}


def exact_value(name: str, value: Any, row: int, found: Violations) -> Any:
    """Give a value with whole numbers as ints, at every depth: 2, not 2.0."""
    if type(value) is float:
        if may_have_lost_digits(value):
            found.add(name, _lost_digits(value, row, text=True), "INEXACT_NUMBER")
        return whole(value)
    if type(value) is dict:
        return {key: exact_value(name, item, row, found) for key, item in value.items()}
    if type(value) is list:
        return [exact_value(name, item, row, found) for item in value]
    return value


def _open_column(feature: Feature, values: Sequence[Any], found: Violations) -> GivenColumn:
    items = [whole(value) if type(value) is float else value for value in values]
    for row, value in enumerate(items):
        if may_have_lost_digits(value):
            found.add(feature.name, _lost_digits(value, row, text=False), "INEXACT_NUMBER")
            break
    array = open_column(items, feature.dtype)
    return GivenColumn(feature.name, array.values, array.nulls)


def _exact(feature: Feature, values: Sequence[Any], found: Violations) -> list[Any]:
    """Read whole numbers that are texts, and refuse floats that may have lost digits."""
    items = list(values)
    for row, value in enumerate(items):
        if type(value) is str and _WHOLE.fullmatch(value):
            items[row] = int(value)
        elif may_have_lost_digits(value):
            found.add(feature.name, _lost_digits(value, row, text=True), "INEXACT_NUMBER")
            break
    return items


_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")


def _lost_digits(value: float, row: int, *, text: bool) -> str:
    cure = f"send it as text, {str(int(value))!r}, or in a table" if text else "send a table"
    return (
        f"{value:.0f} in row {row} may have lost digits: JSON numbers are float64, which holds "
        f"whole numbers up to 2^53; {cure}"
    )


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _floats(values: Sequence[Any]) -> NDArray[Any]:
    return np.array(values, np.float64)


def _whole_or_floats(values: Sequence[Any]) -> NDArray[Any]:
    """Keep every digit where all are ints that 64 bits hold."""
    if all(type(value) is not float and -(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64)
    if any(type(value) is float and not value.is_integer() for value in values):
        return _floats(values)
    if all(-(2**63) <= value < 2**63 for value in values):
        return np.array([int(value) for value in values], np.int64)
    return _floats(values)


_NUMBER: Final = (int, float)
"""A bool is an int."""
_JSON_FORMS: Final[dict[DType, tuple[Any, Any, Any]]] = {
    DType.FLOAT64: (_NUMBER, 0.0, _floats),
    DType.FLOAT32: (_NUMBER, 0.0, _floats),
    DType.INT64: (_NUMBER, 0, _whole_or_floats),
    DType.INT32: (_NUMBER, 0, _whole_or_floats),
    DType.BOOL: (_NUMBER, False, np.array),
    DType.STRING: (str, "", _objects),
}
_JSON_NAMES: Final = {
    "str": "string",
    "float": "number",
    "int": "number",
    "bool": "truth value",
    "dict": "object",
}
