"""Author's input: rows as whoever fitted the estimator would hand them to it, in a notebook.

It is made of plain values by pandas and NumPy themselves, not of a request's arrays, so that what
is served can be held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from pushserve_runtime.signature import Accepts, DType, Feature, InputForm, Layout, Signature


def author_input(
    signature: Signature, rows: Sequence[Sequence[Any]], categorical: Sequence[bool], *, named: bool
) -> Any:
    """Give a data frame where it was fitted on names, else an array; texts and dicts as such.

    `rows` are plain values in the features' order, None for null. `categorical` tells which
    features are pandas' categories.
    """
    features, form = signature.inputs, signature.form
    columns = list(zip(*rows, strict=True))
    if form is InputForm.TEXTS:
        null = _null(features[0], columns[0])
        return [null if value is None else value for value in columns[0]]
    if form is InputForm.DICTS:
        return [
            {f.name: v for f, v in zip(features, row, strict=True) if v is not None} for row in rows
        ]
    if form is InputForm.SERIES:
        return _series(features[0], columns[0], chosen=False).rename(features[0].name)
    if named or (signature.layout is Layout.TABLE and form is InputForm.FRAME):
        return _frame(features, columns, categorical)
    nulls = [_null(f, column) for f, column in zip(features, columns, strict=True)]
    values = [[n if v is None else v for n, v in zip(nulls, row, strict=True)] for row in rows]
    texts = any(isinstance(value, str) for row in values for value in row)
    return np.array(values, object) if texts else np.array(values)


def _frame(
    features: Sequence[Feature], columns: Sequence[Sequence[Any]], categorical: Sequence[bool]
) -> Any:
    import pandas as pd  # noqa: PLC0415

    made = {
        feature.name: _series(feature, values, chosen=bool(chosen))
        for feature, values, chosen in zip_longest(features, columns, categorical)
        if feature.accepts is not Accepts.UNUSED
    }
    rest = {f.name: np.zeros(len(columns[0])) for f in features if f.name not in made}
    return pd.DataFrame(made | rest)[[feature.name for feature in features]]


def _series(feature: Feature, values: Sequence[Any], *, chosen: bool) -> Any:
    import pandas as pd  # noqa: PLC0415

    null = _null(feature, values)
    given = [null if value is None else value for value in values]
    if chosen:
        return pd.Series(given, dtype=pd.CategoricalDtype(list(feature.categories)))
    if feature.as_dates:
        return pd.to_datetime(pd.Series(given))
    if feature.null_is_none and (not feature.is_open or (None in given)):
        return pd.Series(given, dtype=object)
    series: Any = pd.Series(given)
    if not feature.is_open and feature.dtype in (DType.FLOAT64, DType.FLOAT32):
        return series.astype(str(feature.dtype))
    return series


def _null(feature: Feature, values: Sequence[Any]) -> Any:
    """Give what a null of these values is.

    Numbers that keep the type they came in have NaN, truth values None, as pandas reads JSON.
    """
    present = [value for value in values if value is not None]
    if feature.is_open and present and all(type(value) is bool for value in present):
        return None
    if feature.is_open and feature.null_is_none:
        are_numbers = {type(value) for value in present} <= {int, float}
        are_numbers = are_numbers if present else feature.dtype.is_number
        return np.nan if are_numbers and (present or feature.dtype is not DType.BOOL) else None
    return None if feature.null_is_none or feature.dtype is DType.BOOL else np.nan
