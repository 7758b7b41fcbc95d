"""Steps: transformers that come before a model, without their checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from pushserve_sandbox.compat import transform_output
from pushserve_sandbox.inspection.library_types import own_method
from pushserve_sandbox.inspection.probing import attempt
from pushserve_sandbox.prediction.fast_path import Matrix, is_matrix

Step = Callable[[Any], Any]
"""Takes a finite matrix, or one with NaN; gives None for what it leaves to the estimator."""


def step_of(transformer: Any) -> Step | None:
    """Give the fast way through a transformer; None where there is none.

    An infinity that comes in goes out as one, or the step gives None: whoever comes last looks
    for them once, where scikit-learn looks at every step.
    """
    make = _MAKERS.get(type(transformer))
    if make is None or transform_output(transformer) != "default" or own_method(transformer):
        return None
    step: Step | BaseException | None = attempt(lambda: make(transformer))
    # Where another scikit-learn has renamed what is looked at, there is no fast way.
    return None if isinstance(step, BaseException) else step


def _shifted(center: Any, scale: Any) -> Step | None:
    """(x - center) / scale."""
    if not _are_numbers(center, scale):
        return None

    def step(rows: Matrix) -> Matrix:
        if center is not None:
            rows = rows - center
        if scale is not None:
            rows = rows / scale
        return rows

    return step


def _standard(scaler: Any) -> Step | None:
    return _shifted(
        scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None
    )


def _robust(scaler: Any) -> Step | None:
    return _shifted(
        scaler.center_ if scaler.with_centering else None,
        scaler.scale_ if scaler.with_scaling else None,
    )


def _max_abs(scaler: Any) -> Step | None:
    return None if getattr(scaler, "clip", False) else _shifted(None, scaler.scale_)


def _min_max(scaler: Any) -> Step | None:
    scale, start = scaler.scale_, scaler.min_
    if scaler.clip or not _are_numbers(start, scale):
        return None

    def step(rows: Matrix) -> Matrix:
        rows = rows * scale
        rows += start
        return rows

    return step


def _are_numbers(center: Any, scale: Any) -> bool:
    fine = center is None or bool(np.isfinite(center).all())
    return fine and (scale is None or bool(np.isfinite(scale).all() and np.all(scale != 0)))


def _imputer(imputer: Any) -> Step | None:
    statistics: NDArray[Any] = imputer.statistics_
    numbers = statistics.dtype == np.float64 and bool(np.isfinite(statistics).all())
    missing = imputer.missing_values
    marked = isinstance(missing, float) and bool(np.isnan(missing))
    if not numbers or not marked or imputer.indicator_ is not None:
        return None

    def step(rows: Matrix) -> Matrix | None:
        if np.isinf(rows).any():
            return None
        return np.where(np.isnan(rows), statistics, rows)

    return step


_MAKERS: dict[type, Callable[[Any], Step | None]] = {
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    SimpleImputer: _imputer,
}


def fast_chain(transformers: Sequence[Any]) -> Step | None:
    """Give the way from a matrix through all transformers; None where the first has no fast way.

    From the first transformer that has none, all do it themselves.
    """
    steps: list[Step] = []
    for transformer in transformers:
        step = step_of(transformer)
        if step is None:
            break
        steps.append(step)
    if not steps:
        return None
    columns = transformers[0].n_features_in_
    rest = own_chain(transformers[len(steps) :])

    def chain(data: Any) -> Any:
        if not is_matrix(data, columns):
            return None
        for step in steps:
            data = step(data)
            if data is None:
                return None
        return None if np.isinf(data).any() else rest(data)

    return chain


def own_chain(transformers: Sequence[Any]) -> Step:
    """Give the transformers' own way."""
    transforms = [transformer.transform for transformer in transformers]

    def chain(data: Any) -> Any:
        for transform in transforms:
            data = transform(data)
        return data

    return chain
