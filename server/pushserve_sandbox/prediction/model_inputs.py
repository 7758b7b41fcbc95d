"""Model inputs: from a request's arrays to what an estimator takes, by layout and form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.open_columns import number_matrix
from pushserve_runtime.signature import DType, Feature
from pushserve_sandbox.compat import text_dtype

InputFunction = Callable[[Sequence[Array]], Any]


def copied(data: Any) -> Any:
    """Copy what an input function has given: an array, a frame, a series, or a list of dicts."""
    return [dict(row) for row in data] if isinstance(data, list) else data.copy()


def matrix_input(arrays: Sequence[Array]) -> NDArray[Any]:
    """Give the matrix of a MATRIX request."""
    return arrays[0].values


def text_input(arrays: Sequence[Array]) -> NDArray[Any]:
    """Give the one column of texts that a vectorizer takes, [rows]."""
    return _objects(arrays[0], np.nan)


def object_matrix_input(features: Sequence[Feature]) -> InputFunction:
    """Make the function that gives an array of shape [rows, features].

    It holds objects where some are no numbers, as NumPy would have it: nulls alone are, beside
    numbers.
    """

    def build(arrays: Sequence[Array]) -> NDArray[Any]:
        if any(a.dtype.is_number for a in arrays):
            arrays = [_nulls_as_numbers(f, a) for f, a in zip(features, arrays, strict=True)]
        pairs = list(zip(features, arrays, strict=True))
        if not any(_takes_none(f, a) for f, a in pairs) and all(a.dtype.is_number for a in arrays):
            return number_matrix(arrays).values
        return np.column_stack(
            [_objects(array, None if _takes_none(f, array) else np.nan) for f, array in pairs]
        )

    return build


def _nulls_as_numbers(feature: Feature, array: Array) -> Array:
    if array.dtype.is_number or array.nulls is None or not array.nulls.all():
        return array
    if not feature.is_open or _takes_none(feature, array):
        return array
    return Array(DType.FLOAT64, np.zeros(len(array.values)), array.nulls)


def dicts_input(features: Sequence[Feature]) -> InputFunction:
    """Make the function that gives a list with a dict for each row, without what is null."""
    names = [feature.name for feature in features]

    def build(arrays: Sequence[Array]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in arrays[0].values]
        for name, array in zip(names, arrays, strict=True):
            nulls = None if array.nulls is None else array.nulls.tolist()
            for number, value in enumerate(array.values.tolist()):
                if nulls is None or not nulls[number]:
                    rows[number][name] = value
        return rows

    return build


def series_input(features: Sequence[Feature]) -> InputFunction:
    """Make the function that gives the only feature as a pandas Series."""
    column = _column_functions(features, ())[0]
    name = features[0].name

    def build(arrays: Sequence[Array]) -> Any:
        import pandas as pd  # noqa: PLC0415 (most models are asked by matrix)

        return pd.Series(column(arrays[0]), name=name)

    return build


def frame_input(features: Sequence[Feature], categorical: Sequence[bool] = ()) -> InputFunction:
    """Make the function that gives a data frame with the features' names and types.

    `categorical` are those that get pandas' type for categories.
    """
    import pandas as pd  # noqa: PLC0415 (most models are asked by matrix)

    names = [feature.name for feature in features]
    columns = _column_functions(features, categorical)

    def build(arrays: Sequence[Array]) -> Any:
        made = [column(array) for column, array in zip(columns, arrays, strict=True)]
        return pd.DataFrame(dict(zip(names, made, strict=True)), copy=False)

    return build


def _column_functions(
    features: Sequence[Feature], categorical: Sequence[bool]
) -> list[Callable[[Array], Any]]:
    """Give for each feature what turns its array into a column of a frame."""
    import pandas as pd  # noqa: PLC0415

    text = text_dtype()

    def of(feature: Feature, chosen: bool | None) -> Callable[[Array], Any]:
        if chosen:
            return partial(_typed_series, pd.CategoricalDtype(list(feature.categories)))
        if feature.as_dates:
            return _dates
        if feature.is_open:
            return partial(_open_series, text, feature)
        return _object_series if feature.null_is_none else partial(_series, text)

    return [of(feature, chosen) for feature, chosen in zip_longest(features, categorical)]


def _series(text: Any, array: Array) -> Any:
    """Give a column of a known type; texts are of pandas' type `text`."""
    if array.dtype is DType.STRING:
        return _typed_series(text, array)
    if array.dtype is DType.JSON or (array.dtype is DType.BOOL and array.nulls is not None):
        return _object_series(array)
    return _numbers(array)


def _open_series(text: Any, feature: Feature, array: Array) -> Any:
    import pandas as pd  # noqa: PLC0415

    if _takes_none(feature, array):
        return _object_series(array)
    if array.dtype is DType.INT64 and array.nulls is not None:  # only pandas' Int64 is sent so
        return pd.arrays.IntegerArray(array.values.astype("<i8"), array.nulls.copy())
    return _series(text, array)


def _typed_series(kind: Any, array: Array) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.Series(_objects(array, np.nan), dtype=kind)


def _object_series(array: Array) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.Series(_objects(array, None), dtype=object)


def _dates(array: Array) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.to_datetime(_object_series(array))


def _takes_none(feature: Feature, array: Array) -> bool:
    """Whether nulls of a column are None. Numbers of open columns have NaN alone."""
    if not feature.null_is_none or not feature.is_open:
        return feature.null_is_none
    return array.nulls is not None and (not array.dtype.is_number or array.dtype is DType.BOOL)


def _objects(array: Array, null: float | None) -> NDArray[Any]:
    """Values as objects, with `null` where one is null: imputers look for NaN mostly."""
    if array.nulls is None:
        return array.values if array.values.dtype == object else array.values.astype(object)
    values: NDArray[Any] = array.values.astype(object)
    values[array.nulls] = null
    return values


def _numbers(array: Array) -> NDArray[Any]:
    """Values as they are, to be written into; float64 with NaN where one is null."""
    if array.nulls is None:
        return array.values if array.values.flags.writeable else array.values.copy()
    values: NDArray[Any] = array.values.astype("<f8")
    values[array.nulls] = np.nan
    return values
