"""Booster columns: what XGBoost and LightGBM remember of the data frame they were fitted on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from pushserve_runtime.signature import DType

_XGBOOST_TYPES: Final = {"int": DType.INT64, "i": DType.BOOL}

Remembered = tuple[DType | None, tuple[str | int, ...]]
"""A column's type, and its categories where pandas had it as such."""


def remembered_columns(estimator: Any) -> list[Remembered]:
    """Give what is known of each column; nothing for other estimators, or after an array."""
    booster = getattr(estimator, "_Booster", None)
    if getattr(booster, "feature_types", None):
        return _xgboost(booster)
    if getattr(booster, "pandas_categorical", None):
        return _lightgbm(booster)
    return []


def _xgboost(booster: Any) -> list[Remembered]:
    types = booster.feature_types
    categories: list[tuple[str | int, ...]] = [()] * len(types)
    if "c" in types:
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        model = learner["gradient_booster"].get("gbtree", learner["gradient_booster"])["model"]
        found = model.get("cats", {}).get("enc", [])
        categories = [_encoded(item) for item in found] or categories
    return [
        (_typed(items) if items else _XGBOOST_TYPES.get(name), items)
        for name, items in zip(types, categories, strict=True)
    ]


def _encoded(found: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Read categories: texts one behind the other with their offsets, or whole numbers."""
    values = found["values"]
    if "offsets" not in found:
        return tuple(int(item) for item in values)
    if min(values, default=0) < 0:
        return ()  # XGBoost 3.2 counts characters where it cuts bytes: they are lost
    return tuple(bytes(values[start:end]).decode() for start, end in pairwise(found["offsets"]))


def _lightgbm(booster: Any) -> list[Remembered]:
    """Find the columns by the dump, which lists the values of those that are categories."""
    dump = booster.dump_model(num_iteration=1)
    infos = [dump["feature_infos"].get(name, {}) for name in dump["feature_names"]]
    columns = [number for number, info in enumerate(infos) if info.get("values")]
    lists = booster.pandas_categorical
    if len(columns) != len(lists):
        return []  # some are categories that pandas did not know as such
    known: list[Remembered] = [(None, ())] * len(infos)
    for column, items in zip(columns, lists, strict=True):
        known[column] = (_typed(items), tuple(items))
    return known


def _typed(items: Sequence[str | int]) -> DType | None:
    if all(isinstance(item, str) for item in items):
        return DType.STRING
    return DType.INT64 if all(type(item) is int for item in items) else None
