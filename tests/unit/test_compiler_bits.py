"""Graphs on the edge: on thresholds, beyond what a double holds, and where scikit-learn refuses."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier

from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.onnx_predictor import NULL_TEXT, REFUSES
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from pushserve_sandbox.onnx_compiler.proof import parity
from pushserve_sandbox.prediction.model_outputs import quiet
from tests.fixtures.shares import share

X, y = make_classification(766, 8, n_informative=5, random_state=0)
TARGET = X @ np.arange(8.0) + y


def result_of(model):
    with quiet():
        return compile_estimator(model, inspect_estimator(model, Declared(), []), [])


def compiled(model):
    result = result_of(model)
    assert isinstance(result, Compiled), result.reason
    return result.predictor


def matrix(rows):
    return [Array(DType.FLOAT64, np.asarray(rows, "f8"))]


def texts(values):
    array = np.empty(len(values), object)
    array[:] = values
    return [Array(DType.STRING, array)]


def boosted():
    return HistGradientBoostingClassifier(max_iter=5, random_state=0)


def letters():
    words = np.array([f"word{i}" for i in range(300)])
    share, random = 1 / np.arange(1, 301), np.random.default_rng(0)
    return [
        " ".join(random.choice(words, random.integers(15, 40), p=share / share.sum()))
        for _ in range(300)
    ]


def of_texts():
    docs = letters()
    model = make_pipeline(TfidfVectorizer(), TruncatedSVD(20, random_state=0), boosted())
    return model.fit(docs, ["word7 " in text for text in docs])


INEXACT = {
    "texts, SVD": of_texts,
    "PCA": lambda: make_pipeline(PolynomialFeatures(2), PCA(5), boosted()).fit(X, y),
    "union": lambda: make_pipeline(make_union(PCA(3), StandardScaler()), boosted()).fit(X, y),
    "Normalizer": lambda: make_pipeline(Normalizer(), boosted()).fit(X, y),
    "bins": lambda: make_pipeline(
        PCA(3), KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"), LogisticRegression()
    ).fit(X, y),
    "bins behind powers": lambda: make_pipeline(
        PowerTransformer(),
        KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"),
        LogisticRegression(),
    ).fit(X, y),
    "a forest": lambda: make_pipeline(PCA(5), RandomForestClassifier(5, random_state=0)).fit(X, y),
    "a branch": lambda: make_pipeline(
        ColumnTransformer(
            [
                ("a", make_pipeline(PCA(2), KBinsDiscretizer(4, strategy="uniform")), [0, 1, 2]),
                ("b", StandardScaler(), [3, 4, 5, 6, 7]),
            ]
        ),
        LogisticRegression(),
    ).fit(X, y),
    "a vote": lambda: VotingClassifier(
        [("a", make_pipeline(Normalizer(), boosted())), ("b", LogisticRegression())], voting="soft"
    ).fit(X, y),
    "a value": lambda: make_pipeline(
        PowerTransformer(), HistGradientBoostingRegressor(max_iter=5)
    ).fit(X, TARGET),
    "stacked": lambda: StackingClassifier(
        [("a", LogisticRegression())], DecisionTreeClassifier(max_depth=3)
    ).fit(X, y),
}


@pytest.mark.parametrize("name", share(INEXACT, 2))
def test_thresholds_behind_other_bits_are_not_compiled(name):
    result = result_of(INEXACT[name]())

    assert isinstance(result, Refused)
    assert "thresholds" in result.reason


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, RobustScaler])
def test_thresholds_behind_the_same_bits_are_exact_on_training_rows(scaler):
    model = make_pipeline(scaler(), boosted()).fit(X, y)
    predictor = compiled(model)
    expected = model.predict_proba(X)

    together = predictor.predict(matrix(X), ["probabilities"])[0].values
    alone = [predictor.predict(matrix(row[None]), ["probabilities"])[0].values for row in X[:50]]

    assert np.abs(expected - together).max() < 1e-14
    assert np.abs(expected[:50] - np.concatenate(alone)).max() < 1e-14


@pytest.mark.parametrize("encoder", [OneHotEncoder, OrdinalEncoder])
@pytest.mark.parametrize("start", [2**53, -(2**60), 2**62])
def test_whole_numbers_that_no_double_holds_are_not_compiled(encoder, start):
    unknown = {"handle_unknown": "ignore"} if encoder is OneHotEncoder else {}
    ids = pd.DataFrame({"id": start + np.arange(200) % 4})
    model = make_pipeline(encoder(**unknown), LogisticRegression()).fit(ids, np.arange(200) % 2)

    assert isinstance(result_of(model), Refused)


def refuses(predictor, arrays):
    with pytest.raises(Exception, match=REFUSES):
        predictor.predict(arrays, list(predictor.signature.default_outputs))


@pytest.mark.parametrize("encoder", share([OneHotEncoder(), OrdinalEncoder()], 2))
def test_a_strict_encoder_of_any_size_refuses_what_it_does_not_know(encoder):
    codes = [f"{number:05}" for number in range(1500)]
    frame = pd.DataFrame({"zip": codes * 2})
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(3000) % 2)
    predictor = compiled(model)
    some = pd.DataFrame({"zip": codes[:5]})

    with pytest.raises(ValueError, match="unknown categories"):
        model.predict(pd.DataFrame({"zip": ["99999"]}))
    refuses(predictor, texts(["99999"]))
    refuses(predictor, texts(["00001", "99999"]))
    assert (
        model.predict(some).tolist()
        == predictor.predict(texts(codes[:5]), ["label"])[0].values.tolist()
    )


def test_a_strict_encoder_of_an_array_refuses_too():
    rows = np.column_stack([np.arange(200) % 3, X[:200, 0]])
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(rows, y[:200])

    with pytest.raises(ValueError, match="unknown categories"):
        model.predict([[7.0, 0.1]])
    refuses(compiled(model), matrix([[7.0, 0.1]]))


HUGE = {
    "forest": (lambda: RandomForestClassifier(5, random_state=0).fit(X, y), 1e39),
    "extra trees": (lambda: ExtraTreesRegressor(5, random_state=0).fit(X, TARGET), -4e38),
    "boosting": (lambda: GradientBoostingRegressor(n_estimators=5).fit(X, TARGET), 1e300),
    "scaled": (
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5)).fit(X, y),
        -1e39,
    ),
    "polynomials": (
        lambda: make_pipeline(
            PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=1000)
        ).fit(X, y),
        1e200,
    ),
    "cubes": (lambda: make_pipeline(PolynomialFeatures(3), Ridge()).fit(X, TARGET), -1e110),
    "small scale": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X * 1e-3, y),
        1.7e308,
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_row_that_scikit_learn_refuses_is_refused_by_the_graph(name):
    fit, number = HUGE[name]
    model = fit()
    row = X[:1].copy()
    row[0, 2] = number
    predictor = compiled(model)

    with quiet(), pytest.raises(ValueError, match=r"infinity or a value too large|infinity"):
        model.predict(row)
    refuses(predictor, matrix(row))
    refuses(predictor, matrix(np.concatenate([X[:3], row])))
    output = predictor.signature.default_outputs[0]
    found = predictor.predict(matrix(X[:9]), [output])[0].values
    assert np.allclose(model.predict(X[:9]).astype(float), found.astype(float), 1e-9)


def test_finite_numbers_that_float32_does_not_hold_are_answered():
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, TARGET)
    rows = X[:4] * 1e39

    found = compiled(model).predict(matrix(rows), ["value"])[0].values

    assert np.allclose(model.predict(rows), found, 1e-12)


@pytest.mark.parametrize("function", ["expm1", "log1p"])
def test_small_values_of_a_changed_target_keep_their_digits(function):
    pair = {"expm1": (np.log1p, np.expm1), "log1p": (np.expm1, np.log1p)}[function]
    model = TransformedTargetRegressor(
        Ridge(), func=pair[0], inverse_func=pair[1], check_inverse=False
    ).fit(X, np.abs(TARGET) / 100)
    model.regressor_.intercept_ = np.float64(0.0)
    rows = X[:50] * 1e-9
    expected = model.predict(rows)

    found = compiled(model).predict(matrix(rows), ["value"])[0].values

    assert np.allclose(expected, found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [1e10, 1e3, "scale"])
def test_support_vectors_far_from_zero_are_right_or_refused(gamma):
    incomes = 50_000 + 1_000 * X[:150, :2]
    model = SVR(gamma=gamma, C=10).fit(incomes, TARGET[:150])
    result = result_of(model)

    if isinstance(result, Compiled):
        found = result.predictor.predict(matrix(incomes), ["value"])[0].values
        assert np.allclose(model.predict(incomes), found, rtol=1e-6, atol=1e-6)


def test_clusters_that_tie_are_right_or_refused():
    grid = np.random.default_rng(0).integers(0, 8, (300, 4)) / 2.0
    model = KMeans(60, n_init=1, random_state=0).fit(grid)
    rows = np.random.default_rng(1).integers(0, 16, (20_000, 4)) / 4.0
    result = result_of(model)

    if isinstance(result, Compiled):
        found = result.predictor.predict(matrix(rows), ["label"])[0].values
        assert model.predict(rows).tolist() == found.tolist()


def test_a_text_that_stands_for_null_in_the_graph_is_a_text():
    names = pd.DataFrame({"name": pd.Series(["a", "b", np.nan] * 60, dtype=object)})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(
        names, names.name.isna().astype(int)
    )
    given = ["a", NULL_TEXT]
    expected = model.predict_proba(pd.DataFrame({"name": given}))

    found = compiled(model).predict(texts(given), ["probabilities"])[0].values

    assert np.allclose(expected, found)


def test_a_quadratic_converter_is_given_up():
    """scikit-learn's 1,000 quantiles for each of 10 columns; a worker serves it."""
    rows = np.random.default_rng(0).normal(size=(1500, 10))
    model = make_pipeline(QuantileTransformer(), Ridge()).fit(rows, rows[:, 0])
    start = time.process_time()

    result = result_of(model)

    assert isinstance(result, Refused)
    assert "QuantileTransformer" in result.reason
    assert time.process_time() - start < 10


def test_how_busy_the_machine_is_changes_nothing(monkeypatch):
    """Whatever a clock on the wall says, all rows are compared."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    ticks = iter(range(0, 10**9, 1000))
    calm = result_of(model).reason
    monkeypatch.setattr(parity.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(parity.time, "perf_counter", lambda: next(ticks))

    assert calm == result_of(model).reason


def test_what_is_over_budget_says_so(monkeypatch):
    monkeypatch.setattr(parity, "SECONDS", -1.0)

    result = result_of(LogisticRegression().fit(X, y))

    assert isinstance(result, Refused)
    assert "processor time" in result.reason


def test_a_label_that_hangs_on_the_last_bits_is_not_compiled():
    """Effects of a factorial design cancel out: some rows lie on the border itself."""
    levels = np.array(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 4)).reshape(4, -1).T
    design = np.tile(levels, (3, 1))
    labels = (design @ [0.1, 0.2, 0.3, -0.6] > 0).astype(int)
    model = RidgeClassifier(fit_intercept=False).fit(design, labels)
    model.coef_ = np.array([[0.1, 0.2, 0.3, -0.6]])
    result = result_of(model)

    assert isinstance(result, Refused)
    assert "label" in result.reason
