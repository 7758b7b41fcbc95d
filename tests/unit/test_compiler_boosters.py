"""XGBoost's and LightGBM's models give the same answers as graphs, or say why they stay Python."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from pushserve_sandbox.onnx_compiler.proof.trial_rows import EXTREMES, trial_rows
from pushserve_sandbox.onnx_compiler.trees import xgboost_trees
from pushserve_sandbox.onnx_compiler.trees.booster_trees import booster_trees
from tests.fixtures.shares import share

xgboost = pytest.importorskip("xgboost", reason="xgboost is an optional extra")
lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is an optional extra")

X, three = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
WHOLE = np.round(4 * X)
NAMES = np.array(["a", "b", "c"])[three]
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, WHOLE)
VALUES = X[:, 0] + WHOLE[:, 1]
POSITIVE = np.abs(VALUES) + 0.1
SINGLE, DOUBLE = 2.5e-7, 1e-15
"""Two float32 beside each other, and two float64."""


def xgb(**settings):
    return xgboost.XGBClassifier(n_estimators=10, n_jobs=1, **settings)


def xgb_values(**settings):
    return xgboost.XGBRegressor(n_estimators=10, n_jobs=1, **settings)


def lgb(**settings):
    return lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1, **settings)


def lgb_values(**settings):
    return lightgbm.LGBMRegressor(n_estimators=10, n_jobs=1, verbose=-1, **settings)


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def compiled(model, examples=()):
    predictor = inspect_estimator(model, Declared(), list(examples))
    return predictor, compile_estimator(model, predictor, list(examples))


MODELS = {
    "XGBoost": (xgb(), WHOLE, three),
    "XGBoost of two": (xgb(base_score=0.3), HOLES, three > 0),
    "XGBoost of one class": (xgb(), X, np.zeros(len(X), int)),
    "XGBoost's softmax": (xgb(objective="multi:softmax"), HOLES, three),
    "XGBoost where 0 is missing": (xgb(missing=0), np.nan_to_num(HOLES), three > 0),
    "XGBoost, exact": (xgb(tree_method="exact"), WHOLE, three),
    "XGBoost, scaled": (scaled(xgb()), WHOLE, three),
    "XGBoost's dart that drops nothing": (xgb(booster="dart"), X, three > 0),
    "XGBoost's forest": (xgboost.XGBRFClassifier(n_estimators=10), WHOLE, three),
    "XGBoost's values": (xgb_values(), WHOLE, VALUES),
    "XGBoost's values, scaled": (scaled(xgb_values()), HOLES, VALUES),
    "XGBoost's forest of values": (xgboost.XGBRFRegressor(n_estimators=10), WHOLE, VALUES),
    "XGBoost's pairs": (xgb_values(), WHOLE, X[:, :2]),
    "XGBoost's medians": (xgb_values(objective="reg:absoluteerror"), X, VALUES),
    "XGBoost's counts": (xgb_values(objective="count:poisson"), HOLES, np.round(POSITIVE)),
    "XGBoost's gamma": (xgb_values(objective="reg:gamma"), X, POSITIVE),
    "XGBoost's shares": (xgb_values(objective="reg:logistic"), X, three / 2),
    "LightGBM": (lgb(), WHOLE, NAMES),
    "LightGBM of two": (lgb(), HOLES, three > 0),
    "LightGBM where 0 is missing": (lgb(zero_as_missing=True), WHOLE, three),
    "LightGBM without missing values": (lgb(use_missing=False), WHOLE, three),
    "LightGBM, one against all": (lgb(objective="multiclassova", sigmoid=0.5), X, NAMES),
    "LightGBM's forest": (
        lgb(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5),
        WHOLE,
        three,
    ),
    "LightGBM's dart": (lgb(boosting_type="dart"), X, three),
    "LightGBM, scaled": (scaled(lgb()), WHOLE, three),
    "LightGBM, scaled holes": (scaled(lgb()), HOLES, NAMES == "a"),
    "LightGBM's values": (lgb_values(), WHOLE, VALUES),
    "LightGBM's counts": (lgb_values(objective="poisson"), X, POSITIVE),
    "LightGBM's roots": (lgb_values(reg_sqrt=True), WHOLE, VALUES),
    "LightGBM's shares": (lgb_values(objective="cross_entropy"), X, three / 2),
}


@pytest.mark.parametrize("name", share(MODELS, 2))
def test_the_answers_are_the_same(name):
    """Labels are equal, sums have the same bits, and numbers made by exp are next to each other."""
    model, data, target = MODELS[name]
    predictor, result = compiled(model.fit(data, target))

    assert isinstance(result, Compiled), result.reason
    assert_same(model, predictor, result)


def assert_same(model, predictor, result):
    rows = trial_rows(model, predictor.signature, [])
    names = [spec.name for spec in result.predictor.signature.outputs]
    assert set(predictor.signature.default_outputs) <= set(names)
    want = predictor.predict(rows, names)
    got = result.predictor.predict(rows, names)
    limit = SINGLE if "XGB" in repr(model) else DOUBLE
    for one, other in zip(want, got, strict=True):
        assert one.dtype is other.dtype
        if one.dtype is DType.FLOAT64:
            np.testing.assert_allclose(other.values, one.values, rtol=limit, atol=limit)
        else:
            assert one.values.tolist() == other.values.tolist()


def test_xgboosts_trees_after_the_best_one_do_not_count():
    model = xgboost.XGBClassifier(
        n_estimators=60, n_jobs=1, learning_rate=1.0, early_stopping_rounds=5
    )
    model.fit(WHOLE[::2], three[::2], eval_set=[(WHOLE[1::2], three[1::2])], verbose=False)
    predictor, result = compiled(model)

    assert model.get_booster().num_boosted_rounds() > model.best_iteration + 1
    assert isinstance(result, Compiled), result.reason
    assert_same(model, predictor, result)


def test_lightgbms_trees_after_the_best_one_do_not_count():
    model = lightgbm.LGBMClassifier(n_estimators=60, n_jobs=1, learning_rate=1.0, verbose=-1)
    stop = lightgbm.early_stopping(60, verbose=False)
    model.fit(WHOLE[::2], three[::2], eval_X=WHOLE[1::2], eval_y=three[1::2], callbacks=[stop])
    predictor, result = compiled(model)

    assert 60 > model.best_iteration_
    assert isinstance(result, Compiled), result.reason
    assert_same(model, predictor, result)


@pytest.mark.parametrize("make", [xgb, lgb])
def test_rows_lie_on_thresholds_behind_a_scaler(make):
    model = scaled(make()).fit(WHOLE, three)
    signature = inspect_estimator(model, Declared(), []).signature
    (rows,) = trial_rows(model, signature, [])
    seen = model[0].transform(rows.values[:-EXTREMES])
    if make is xgb:
        seen = seen.astype(np.float32)
    trees = booster_trees(model[1])

    on = [
        np.flatnonzero(seen[:, tree.feature[node]] == tree.threshold[node])
        for tree in trees
        for node in np.flatnonzero(~tree.is_leaf)
    ]

    assert 200 < len(np.unique(np.concatenate(on)))


def test_a_threshold_off_by_one_float_is_noticed(monkeypatch):
    """XGBoost takes `<`: were it `<=`, rows on the thresholds would tell."""
    monkeypatch.setattr(xgboost_trees.np, "nextafter", lambda value, _towards: value)
    _, result = compiled(xgb().fit(WHOLE, three))

    assert isinstance(result, Refused)
    assert "trial rows differs" in result.reason


@pytest.mark.parametrize("make", [xgb, lgb])
def test_a_table_through_a_column_transformer(make):
    frame = pd.DataFrame(
        {"size": HOLES[:, 0], "weight": WHOLE[:, 1], "shop": np.where(X[:, 2] > 0, "n", "s")}
    )
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["shop"]),
        remainder="passthrough",
    )
    model = make_pipeline(columns, make()).fit(frame, three)
    predictor, result = compiled(model)

    assert isinstance(result, Compiled), result.reason
    kinds = {feature.name: feature.dtype for feature in predictor.signature.inputs}
    assert {"size": DType.FLOAT64, "weight": DType.FLOAT64, "shop": DType.STRING} == kinds
    assert_same(model, predictor, result)


def test_a_data_frames_types_are_kept():
    """XGBoost remembers them; a whole number's threshold is tried for any number all the same."""
    frame = pd.DataFrame({"age": WHOLE[:, 0].astype(int), "size": X[:, 1], "own": X[:, 2] > 0})
    predictor, result = compiled(xgb().fit(frame, three))

    found = [(item.name, item.dtype, item.nullable) for item in predictor.signature.inputs]
    assert [
        ("age", DType.INT64, True),
        ("size", DType.FLOAT64, True),
        ("own", DType.BOOL, True),
    ] == found
    (rows,) = trial_rows(xgb().fit(frame, three), predictor.signature, [])
    assert np.any(rows.values[:, 0] % 1 != 0)
    assert isinstance(result, Compiled), result.reason


def half(_target, prediction):
    return prediction / 2, np.ones_like(prediction)


WORKERS = {
    "dropped trees": (xgb(booster="dart", rate_drop=0.5), X, three, "trees that it weighs"),
    "lines": (xgb(booster="gblinear"), X, three, "XGBoost's gblinear"),
    "trees of pairs": (
        xgb_values(multi_strategy="multi_output_tree"),
        X,
        X[:, :2],
        "trees with several outputs",
    ),
    "hinges": (xgb(objective="binary:hinge"), X, three > 0, "XGBoost of binary:hinge"),
    "XGBoost's categories": (
        xgb(enable_categorical=True, feature_types=["c", *"qqqqq"]),
        np.abs(WHOLE),
        three,
        "XGBoost that splits on categories",
    ),
    "XGBoost's own objective": (xgb_values(objective=half), X, VALUES, "objective of its own"),
    "LightGBM's categories": (
        lgb(categorical_feature=[0]),
        np.abs(WHOLE),
        three,
        "LightGBM that splits on categories",
    ),
    "linear trees": (lgb_values(linear_tree=True), X, VALUES, "LightGBM's linear trees"),
    "LightGBM's own objective": (lgb_values(objective=half), X, VALUES, "objective of its own"),
    "another entropy": (
        lgb_values(objective="cross_entropy_lambda"),
        X,
        three / 2,
        "LGBMRegressor of cross_entropy_lambda",
    ),
}


@pytest.mark.filterwarnings("ignore")  # LightGBM has words for some of these settings
@pytest.mark.parametrize("name", WORKERS)
def test_the_reason_is_told(name):
    model, data, target, reason = WORKERS[name]
    _, result = compiled(model.fit(data, target))

    assert isinstance(result, Refused)
    assert reason in result.reason


def test_ranking_stays_python():
    model = xgboost.XGBRanker(n_estimators=3).fit(X, three, group=[100, 100, 100])
    _, result = compiled(model)

    assert isinstance(result, Refused)
    assert "there is no converter to ONNX for XGBRanker" == result.reason


def test_zero_that_is_missing_in_some_trees_only():
    """Training went on with another setting: one input cannot be both."""
    first = lgb_values(zero_as_missing=True).fit(WHOLE, VALUES)
    model = lgb_values(use_missing=False).fit(WHOLE, VALUES, init_model=first)
    _, result = compiled(model)

    assert isinstance(result, Refused)
    assert "zero is a missing value in a part of the trees" in result.reason
