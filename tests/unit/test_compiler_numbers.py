"""Steps, targets, clusters and support vectors compile, in doubles."""

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from tests.fixtures.shares import share

X, three = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["a", "b", "c"])[three]
SIZES = np.abs(X[:, 0])
LOGS = {"func": np.log1p, "inverse_func": np.expm1}


def compiled(model):
    predictor = inspect_estimator(model, Declared(), [])
    return predictor, compile_estimator(model, predictor, [])


def boosting():
    return HistGradientBoostingRegressor(max_iter=10)


def target(regressor, **options):
    return TransformedTargetRegressor(regressor, **options)


MODELS = {
    "squares": (PolynomialFeatures(2), X, None),
    "products": (PolynomialFeatures(3, interaction_only=True, include_bias=False), X, None),
    "cubes alone": (PolynomialFeatures((3, 3)), X[:, :3], None),
    "squares, forest": (
        make_pipeline(PolynomialFeatures(2), RandomForestClassifier(5, random_state=0)),
        X,
        three,
    ),
    "rows of size 1": (Normalizer(), X, None),
    "rows of sum 1": (Normalizer("l1"), X, None),
    "rows to 1": (Normalizer("max"), X, None),
    "powers": (make_pipeline(PowerTransformer(), LogisticRegression()), X, three),
    "plain powers": (PowerTransformer(standardize=False), X, None),
    "logarithms": (target(Ridge(), **LOGS), X, SIZES),
    "logarithms, boosting": (make_pipeline(StandardScaler(), target(boosting(), **LOGS)), X, SIZES),
    "logarithms, pipeline": (target(make_pipeline(StandardScaler(), Ridge()), **LOGS), X, SIZES),
    "scaled target": (target(Ridge(), transformer=StandardScaler()), X, SIZES),
    "target to 1": (target(Ridge(), transformer=MinMaxScaler()), X, SIZES),
    "same target": (target(Ridge()), X, SIZES),
    "most frequent": (DummyClassifier(strategy="most_frequent"), X, NAMES),
    "prior": (DummyClassifier(), X, three > 0),
    "mean": (DummyRegressor(), X, SIZES),
    "clusters": (KMeans(5, n_init=1, random_state=0), X, None),
    "clusters far off": (
        make_pipeline(StandardScaler(), MiniBatchKMeans(5, n_init=1, random_state=0)),
        X + 1e4,
        None,
    ),
}


@pytest.mark.parametrize("name", share(MODELS, 2))
def test_equal_in_float64(name):
    model, data, wanted = MODELS[name]
    _, result = compiled(model.fit(data, wanted))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason


@pytest.mark.parametrize("kernel", share(["rbf", "linear", "poly", "sigmoid"], 2))
@pytest.mark.parametrize("kind", [SVC, NuSVC, SVR, NuSVR])
@pytest.mark.parametrize("classes", [2, 3])
def test_support_vectors(kind, kernel, classes):
    """The decision function is given too, of two classes as of more."""
    options = {"nu": 0.3} if kind is NuSVC else {}
    wanted = X[:, 0] + three if kind in (SVR, NuSVR) else np.minimum(three, classes - 1)
    _, result = compiled(kind(kernel=kernel, **options).fit(X, wanted))

    assert isinstance(result, Compiled), result.reason
    assert "does not give" not in result.reason


def test_support_vectors_far_off():
    """Squared distances are computed about the vectors' middle, else nothing would be left."""
    scaled = make_pipeline(StandardScaler(with_std=False), SVC(decision_function_shape="ovo"))
    for model in (scaled, SVC()):
        _, result = compiled(model.fit(X + 1e5, NAMES))

        assert isinstance(result, Compiled), result.reason


def test_many_rows_are_run_a_few_at_a_time():
    predictor, result = compiled(SVR().fit(np.tile(X, (8, 1)), np.arange(2400.0)))
    assert isinstance(result, Compiled), result.reason
    rows = [Array(DType.FLOAT64, np.tile(X, (12, 1)))]

    want = predictor.predict(rows, ["value"])[0].values
    for run in (result.predictor.predict, lambda r, o: result.predictor.runner(o)(r)):
        np.testing.assert_allclose(run(rows, ["value"])[0].values, want, rtol=1e-9)
    parts = [count for _, count in result.predictor.feeds(rows)]
    assert 3600 == sum(parts)
    assert 1700 > max(parts)


WORKERS = {
    "chance": (DummyClassifier(strategy="stratified"), three, "answers by chance"),
    "its own function": (
        target(Ridge(), func=np.cbrt, inverse_func=np.positive, check_inverse=False),
        SIZES,
        "a function of its own",
    ),
    "quantiles": (
        target(Ridge(), transformer=QuantileTransformer(n_quantiles=9)),
        SIZES,
        "changed back by a QuantileTransformer",
    ),
    "ties": (SVC(break_ties=True), three, "breaks ties"),
}


@pytest.mark.parametrize("name", WORKERS)
def test_the_reason_is_told(name):
    model, wanted, reason = WORKERS[name]
    _, result = compiled(model.fit(X, wanted))

    assert isinstance(result, Refused)
    assert reason in result.reason
