"""Plain values: what stands in columns and rows, as one of None, bool, int, float, str."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from pushserve_client.errors import BadData

_EXACT: Final = frozenset({bool, int, str, type(None)})

_INSTEAD_OF_TIMES: Final = "send a number or text, such as '2026-01-31'"


def plain(name: str, value: Any) -> Any:
    """Give a value as Python's own type; NaN, NA, NaT and what is masked are None.

    What is none of these types is given as it is; it is called `name` in errors.

    Raises:
        BadData: it is a time, or bytes.
    """
    if type(value) in _EXACT:
        return value
    if type(value) is float:
        return None if math.isnan(value) else value
    value = _unwrapped(name, value)
    if _is_missing(value):
        return None
    if isinstance(value, (date, time, timedelta)):
        raise BadData(f"{name!r} holds {type(value).__name__}; {_INSTEAD_OF_TIMES}")
    if isinstance(value, (bytes, bytearray)):
        raise BadData(f"{name!r} holds bytes; send text (value.decode()) or numbers")
    for kind in (bool, int, float, str):
        if isinstance(value, kind):  # of a subclass: an enum's member
            return kind.__str__(value) if kind is str else kind(value)
    return float(value) if isinstance(value, (Decimal, Fraction)) else value


def _unwrapped(name: str, value: Any) -> Any:
    """Give what a scalar of PyArrow, NumPy or PyTorch stands for."""
    if is_numpy(value, "generic"):
        return _scalar(name, value)
    if hasattr(value, "as_py"):
        return value.as_py()
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not _is_missing(value):
        return value.item()
    return value


def _scalar(name: str, value: Any) -> Any:
    if value.dtype.kind in "Mm":
        if value == value:  # noqa: PLR0124 -- NaT alone differs from itself
            raise BadData(f"{name!r} holds {value.dtype}; {_INSTEAD_OF_TIMES}")
        return None
    return value.item() if value.dtype.char != "g" else float(value)


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas is not None and (value is getattr(pandas, "NA", None) or value is pandas.NaT):
        return True
    return numpy is not None and value is numpy.ma.masked


def is_numpy(value: object, kind: str) -> bool:
    """Whether it is a NumPy "ndarray" or "generic" (a scalar).

    NumPy is not imported for that: who holds one has imported it.
    """
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, kind))


def is_pandas(value: object, kind: str) -> bool:
    """Whether it is a pandas "DataFrame", "Series" or "Index", or one of a subclass.

    Pandas is not imported for that, either.
    """
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind, ()))


def as_row(value: Any) -> Mapping[Any, Any] | None:
    """Give what has named fields as a mapping; None where it has not.

    A dict, a named tuple, a row of a database, a Series with names for its values, an item of
    a structured array.
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value))
    if is_pandas(value, "Series"):
        return None if has_numbered_rows(value) else dict(zip(value.index, value))
    if is_numpy(value, "void") and value.dtype.names:
        return {name: value[name] for name in value.dtype.names}
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {name: value[name] for name in value.keys()}  # noqa: SIM118 -- sqlite3.Row has no iteration by name
    return None


def has_numbered_rows(series: Any) -> bool:
    """Whether a Series is a column, of rows with numbers, and not one row's values by name."""
    return bool(getattr(series.index, "inferred_type", "") in ("integer", "empty"))
