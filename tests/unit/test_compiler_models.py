"""What compiles gives scikit-learn's answers; what does not says why."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pushserve_runtime.job_spec import Declared
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from pushserve_sandbox.onnx_compiler.proof.trial_rows import EXTREMES, take, trial_rows
from pushserve_sandbox.prediction.row_arrays import arrays_of
from tests.fixtures.shares import share

X, three = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
WHOLE = np.round(4 * X)
NAMES = np.array(["a", "b", "c"])[three]
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
EXACT = 1e-15


def compiled(model, examples=()):
    predictor = inspect_estimator(model, Declared(), list(examples))
    return predictor, compile_estimator(model, predictor, list(examples))


TREES = {
    "tree": (DecisionTreeClassifier(), WHOLE, three),
    "tree of texts": (DecisionTreeClassifier(max_depth=4), X, NAMES),
    "tree of truth": (DecisionTreeClassifier(max_depth=4), X, three > 0),
    "forest": (RandomForestClassifier(20, random_state=0), WHOLE, three),
    "shallow forest": (RandomForestClassifier(20, max_depth=3, random_state=0), WHOLE, NAMES),
    "extra trees": (ExtraTreesClassifier(10, random_state=0), X, three > 0),
    "forest of holes": (RandomForestClassifier(10, random_state=0), HOLES, three),
    "scaled forest": (
        make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
        WHOLE,
        three,
    ),
    "boosting": (GradientBoostingClassifier(n_estimators=5), X, three),
    "boosting of two": (GradientBoostingClassifier(n_estimators=5), X, three > 0),
    "exponential": (GradientBoostingClassifier(n_estimators=5, loss="exponential"), X, three > 0),
    "histograms": (HistGradientBoostingClassifier(max_iter=5), X, NAMES),
    "histograms of two": (HistGradientBoostingClassifier(max_iter=5), HOLES, three > 0),
    "bagging": (BaggingClassifier(n_estimators=3, random_state=0), X, three),
    "forest of values": (RandomForestRegressor(10, random_state=0), WHOLE, X[:, 0]),
    "forest of pairs": (RandomForestRegressor(5, random_state=0), WHOLE, X[:, :2]),
    "one leaf": (DecisionTreeRegressor(), X, np.ones(len(X))),
    "boosted values": (GradientBoostingRegressor(n_estimators=5), X, X[:, 0]),
    "histogram values": (HistGradientBoostingRegressor(max_iter=5), X, X[:, 0]),
    "counts": (HistGradientBoostingRegressor(max_iter=5, loss="poisson"), X, np.abs(X[:, 0])),
}


@pytest.mark.parametrize("name", share(TREES, 2))
def test_trees_are_exact(name):
    model, data, target = TREES[name]
    predictor, result = compiled(model.fit(data, target))
    rows = take(trial_rows(model, predictor.signature, []), slice(0, -EXTREMES))
    names = list(predictor.signature.default_outputs)

    assert isinstance(result, Compiled), result.reason
    want = predictor.predict(rows, names)
    got = result.predictor.predict(rows, names)
    for one, other in zip(want, got, strict=True):
        assert one.dtype is other.dtype
        if one.dtype.is_number and one.values.dtype.kind == "f":
            np.testing.assert_allclose(other.values, one.values, rtol=EXACT, atol=EXACT)
        else:
            assert one.values.tolist() == other.values.tolist()


OTHERS = {
    "logistic": (LogisticRegression(), X, three),
    "logistic of two": (make_pipeline(StandardScaler(), LogisticRegression()), X, NAMES == "a"),
    "imputed": (
        make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()),
        HOLES,
        three,
    ),
    "ridge": (make_pipeline(StandardScaler(), Ridge()), X, X[:, 0]),
    "ridge of classes": (RidgeClassifier(), X, NAMES),
    "ridge of two": (RidgeClassifier(), X, three > 0),
    "support vectors": (LinearSVC(), X, three),
    "descended": (SGDClassifier(loss="log_loss", random_state=0), X, three),
    "discriminant": (LinearDiscriminantAnalysis(), X, three > 0),
    "scaler": (StandardScaler(), X, None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_equal_in_float64(name):
    model, data, target = OTHERS[name]
    _, result = compiled(model.fit(data, target))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason
    deviation = re.search(r"deviation is ([-\d.e]+)\)", result.reason)
    assert deviation is not None
    assert 1e-12 > float(deviation[1])


def mixed(encoder, imputer=None, last=None):
    frame = pd.DataFrame(
        {
            "size": HOLES[:, 0],
            "colour": np.array(["red", "blue", None], object)[three],
            "shop": np.array(["n", "s"])[(X[:, 1] > 0).astype(int)],
        }
    )
    texts = make_pipeline(imputer, encoder) if imputer else encoder
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]), (texts, ["colour", "shop"])
    )
    last = LogisticRegression() if last is None else last
    return make_pipeline(columns, last).fit(frame, NAMES), frame


UNKNOWN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
MIXED = {
    "one hot, missing as one": (OneHotEncoder(handle_unknown="ignore"), None, None),
    "one hot, filled": (
        OneHotEncoder(handle_unknown="ignore"),
        SimpleImputer(strategy="constant", fill_value="none"),
        None,
    ),
    "one hot, most frequent": (OneHotEncoder(), SimpleImputer(strategy="most_frequent"), None),
    "ordinal, forest": (
        OrdinalEncoder(**UNKNOWN),
        SimpleImputer(strategy="most_frequent"),
        RandomForestClassifier(10, random_state=0),
    ),
    "one hot, histograms": (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        None,
        HistGradientBoostingClassifier(max_iter=5),
    ),
}


@pytest.mark.parametrize("name", share(MIXED, 2))
def test_tables_with_missing_texts(name):
    """An empty text and a missing one are two things, to the estimator and to the graph."""
    model, frame = mixed(*MIXED[name])
    example = [{"size": None, "colour": None, "shop": "n"}]
    predictor, result = compiled(model, example)

    assert isinstance(result, Compiled), result.reason
    features = predictor.signature.inputs
    rows = [[1.0, "red", "n"], [None, None, "s"]]
    if not features[1].categories:
        rows.append([0.5, "", "s"])
    arrays = arrays_of(predictor.signature.layout, features, rows)
    want = model.predict_proba(
        pd.DataFrame(rows, columns=frame.columns).astype({"size": float}).fillna({"colour": np.nan})
    )
    got = result.predictor.predict(arrays, ["probabilities"])[0].values
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


WORKERS = {
    "neighbours": (KNeighborsClassifier(), X, three, "control flow: Scan"),
    "missing by neighbours": (
        make_pipeline(KNNImputer(), LogisticRegression()),
        HOLES,
        three,
        "operators of other domains",
    ),
    "other boosting": (
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        X,
        three,
        "starts from another estimator",
    ),
}


@pytest.mark.parametrize("name", WORKERS)
def test_the_reason_is_told(name):
    model, data, target, reason = WORKERS[name]
    _, result = compiled(model.fit(data, target))

    assert isinstance(result, Refused)
    assert reason in result.reason


def test_outputs_that_no_graph_gives_are_named():
    _, result = compiled(RandomForestClassifier(3).fit(X, three))

    assert isinstance(result, Compiled)
    names = [spec.name for spec in result.predictor.signature.outputs]
    assert ["label", "probabilities", "log_probabilities"] == names
    assert 'does not give apply, which engine = "worker"' in result.reason


def test_adaboost_in_float32_says_so():
    _, result = compiled(AdaBoostClassifier(n_estimators=3).fit(X, three))

    assert isinstance(result, Compiled), result.reason
    assert "(float32)" in result.reason


def test_a_graph_too_large_is_refused():
    model = RandomForestClassifier(5).fit(X, three)
    predictor = inspect_estimator(model, Declared(), [])

    result = compile_estimator(model, predictor, [], limit=1000)

    assert isinstance(result, Refused)
    assert "more than 1,000" in result.reason


def test_compiling_twice_gives_the_same_bytes():
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5)).fit(WHOLE, three)
    _, first = compiled(model)
    _, second = compiled(model)

    assert isinstance(first, Compiled)
    assert isinstance(second, Compiled)
    assert first.graph == second.graph
    assert first.reason == second.reason
