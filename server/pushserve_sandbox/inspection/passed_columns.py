"""Passed columns: which of the columns that a step is given it hands on with their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pushserve_sandbox.inspection.estimator_structure import (
    branches_of,
    is_identity,
    is_library,
    members_of,
    steps_of,
)

Columns = list[int | None]
"""Of a matrix inside of the estimator: which input each is, or None where it is another value."""


def passed_columns(step: Any, columns: Columns) -> Columns | None:
    """Say which columns a step hands on with their values (an imputer may fill gaps).

    None where its columns cannot be told.
    """
    if is_identity(step):
        return columns
    steps, members, branches = steps_of(step), members_of(step), branches_of(step)
    if not is_library(step):
        return None
    if steps is not None:
        return _chained(steps, columns)
    if branches is not None:
        return _placed(step, branches, columns)
    if members is not None:
        return _joined(members, columns)
    return _of_one(step, columns)


def _of_one(step: Any, columns: Columns) -> Columns | None:
    if hasattr(step, "statistics_"):
        return _imputed(step, columns)
    if hasattr(step, "get_support") and hasattr(step, "transform"):
        return [c for c, kept in zip(columns, step.get_support(), strict=False) if kept]
    same = hasattr(step, "scale_") and getattr(step, "n_features_in_", 0) == len(columns)
    return [None] * len(columns) if same else None


def _joined(members: list[Any], columns: Columns) -> Columns | None:
    parts = [passed_columns(member, columns) for member in members]
    return None if None in parts else [c for part in parts for c in part or ()]


def _chained(steps: list[Any], columns: Columns) -> Columns | None:
    for step in steps:
        after = passed_columns(step, columns)
        if after is None:
            return None
        columns = after
    return columns


def _placed(
    transformer: Any, branches: Sequence[tuple[str, Any, list[int]]], columns: Columns
) -> Columns | None:
    """Put each branch's columns where the ColumnTransformer puts them."""
    slices = getattr(transformer, "output_indices_", None)
    if slices is None:
        return None
    placed: Columns = [None] * max((s.stop or 0 for s in slices.values()), default=0)
    for name, inner, indices in branches:
        if name in slices and (is_identity(inner) or not isinstance(inner, str)):
            own = passed_columns(inner, [columns[i] for i in indices if i < len(columns)])
            part = slices[name]
            if own is not None and len(own) == part.stop - part.start:
                placed[part] = own
    return placed


def _imputed(step: Any, columns: Columns) -> Columns | None:
    """An imputer drops columns without any value, and may add some that tell what was missing."""
    empty = [item != item for item in np.ravel(step.statistics_).tolist()]  # noqa: PLR0124
    if len(empty) != len(columns) or any(empty):
        return None
    indicator = getattr(step, "indicator_", None)
    more = len(getattr(indicator, "features_", ())) if indicator is not None else 0
    return [*columns, *[None] * more]
