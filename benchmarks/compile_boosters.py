"""The models of XGBoost and LightGBM that `compile_table.py` tries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Row = tuple[Any, str, dict[str, Any], Any, Any]
"""Whose it is, its kind, its settings, and what it is fitted on."""


def boosted(rows: Any, classes: Any, frame: Any) -> Iterator[tuple[str, Any]]:
    """Give names and fitted models: [rows, features], three classes, a data frame of the rows."""
    import lightgbm  # noqa: PLC0415 (both are optional)
    import xgboost  # noqa: PLC0415

    xgb = ("XGB", xgboost, {})
    lgb = ("LGBM", lightgbm, {"verbose": -1})
    table = [*_of_xgboost(xgb, rows, classes), *_of_lightgbm(lgb, rows, classes)]
    for (prefix, package, common), kind, settings, data, target in table:
        said = ", ".join(f"{key}={item!r}" for key, item in settings.items())
        many = " of two targets" if np.ndim(target) == 2 else ""
        model = getattr(package, prefix + kind)(n_jobs=1, **common, **settings)
        yield f"{prefix}{kind}{many}" + (f" ({said})" if said else ""), model.fit(data, target)
    ranker = xgboost.XGBRanker(n_jobs=1).fit(rows, classes, group=[len(rows)])
    yield "XGBRanker", ranker
    for model in (xgboost.XGBClassifier(n_jobs=1), lightgbm.LGBMClassifier(n_jobs=1, verbose=-1)):
        yield from _pipelines(model, np.round(4 * rows), classes, frame)


def _of_xgboost(xgb: Any, rows: Any, classes: Any) -> list[Row]:
    whole, value = np.round(4 * rows), rows[:, 0] + classes
    two, pairs, size = classes > 0, np.c_[rows[:, 0], classes], np.abs(rows[:, 0]) + 0.1
    return [
        (xgb, "Classifier", {}, whole, classes),
        (xgb, "Classifier", {"objective": "multi:softmax"}, rows, classes),
        (xgb, "Classifier", {"missing": 0}, whole, two),
        (xgb, "Classifier", {"booster": "dart"}, rows, two),
        (xgb, "Classifier", {"booster": "dart", "rate_drop": 0.5}, rows, two),
        (xgb, "Classifier", {"booster": "gblinear"}, rows, two),
        (xgb, "Classifier", {"objective": "binary:hinge"}, rows, two),
        (xgb, "RFClassifier", {}, whole, classes),
        (xgb, "Regressor", {}, whole, value),
        (xgb, "Regressor", {}, rows, pairs),
        (xgb, "Regressor", {"multi_strategy": "multi_output_tree"}, rows, pairs),
        (xgb, "Regressor", {"objective": "reg:absoluteerror"}, rows, value),
        (xgb, "Regressor", {"objective": "count:poisson"}, rows, size),
        (xgb, "Regressor", {"objective": "reg:gamma"}, rows, size),
        (xgb, "Regressor", {"objective": "reg:tweedie"}, rows, size),
        (xgb, "Regressor", {"objective": "reg:logistic"}, rows, two),
        (xgb, "RFRegressor", {}, whole, value),
    ]


def _of_lightgbm(lgb: Any, rows: Any, classes: Any) -> list[Row]:
    whole, value = np.round(4 * rows), rows[:, 0] + classes
    two, size = classes > 0, np.abs(rows[:, 0]) + 0.1
    forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
    return [
        (lgb, "Classifier", {}, whole, classes),
        (lgb, "Classifier", {"zero_as_missing": True}, whole, two),
        (lgb, "Classifier", {"objective": "multiclassova"}, rows, classes),
        (lgb, "Classifier", {"boosting_type": "dart"}, rows, classes),
        (lgb, "Classifier", forest, rows, classes),
        (lgb, "Classifier", {"categorical_feature": [0]}, np.abs(whole), classes),
        (lgb, "Regressor", {}, whole, value),
        (lgb, "Regressor", {"objective": "poisson"}, rows, size),
        (lgb, "Regressor", {"objective": "cross_entropy"}, rows, classes / 2),
        (lgb, "Regressor", {"objective": "cross_entropy_lambda"}, rows, classes / 2),
        (lgb, "Regressor", {"linear_tree": True}, rows, value),
    ]


def _pipelines(model: Any, whole: Any, classes: Any, frame: Any) -> Iterator[tuple[str, Any]]:
    name = type(model).__name__
    yield f"StandardScaler + {name}", make_pipeline(StandardScaler(), model).fit(whole, classes)
    for sparse in (False, True):
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)
        columns = make_column_transformer(
            (SimpleImputer(), ["size", "age"]),
            (encoder, ["colour", "shop"]),
            sparse_threshold=float(sparse),
        )
        said = ", sparse" if sparse else ""
        pipeline = make_pipeline(columns, model).fit(frame, classes)
        yield f"ColumnTransformer: imputer, one hot{said} + {name}", pipeline
