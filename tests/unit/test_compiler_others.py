"""Classifiers made of others, kernels, centres, mixtures and outlier detectors compile."""

import numpy as np
import pytest
from sklearn.cluster import AffinityPropagation, MeanShift
from sklearn.cross_decomposition import CCA, PLSCanonical
from sklearn.datasets import make_classification
from sklearn.ensemble import IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from pushserve_runtime.job_spec import Declared
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from tests.fixtures.shares import share

X, three = make_classification(200, 5, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["a", "b", "c"])[three]
TWO = np.array(["no", "yes"])[np.minimum(three, 1)]
SIZES = X[:, 0] + three
PAIR = [
    ("one", make_pipeline(StandardScaler(), LogisticRegression())),
    ("two", DecisionTreeClassifier(max_depth=3)),
]
SCORED = [("one", SVC()), ("two", LinearSVC()), ("three", RandomForestClassifier(3))]


def compiled(model):
    predictor = inspect_estimator(model, Declared(), [])
    return predictor, compile_estimator(model, predictor, [])


def process(kernel):
    return GaussianProcessRegressor(kernel, alpha=1e-2, normalize_y=True, optimizer=None)


MODELS = {
    "soft votes": (VotingClassifier(PAIR, voting="soft", weights=[1, 2.5]), NAMES),
    "hard votes": (VotingClassifier(SCORED), NAMES),
    "searched votes": (
        GridSearchCV(VotingClassifier(PAIR, voting="soft"), {"weights": [[1, 1], [1, 2]]}, cv=2),
        three,
    ),
    "random search": (
        RandomizedSearchCV(PAIR[0][1], {"logisticregression__C": [0.1, 1.0]}, n_iter=2, cv=2),
        NAMES,
    ),
    "fixed threshold": (FixedThresholdClassifier(LogisticRegression(), threshold=0.3), three > 0),
    "of the first class": (
        FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label="no"),
        TWO,
    ),
    "tuned threshold": (
        TunedThresholdClassifierCV(PAIR[0][1], cv=2),
        np.minimum(three, 1),
    ),
    "one of three": (OneVsRestClassifier(LogisticRegression()), NAMES),
    "one of three by vectors": (OneVsRestClassifier(SVC()), NAMES),
    "one of three by trees": (OneVsRestClassifier(RandomForestClassifier(3)), NAMES),
    "one of two": (OneVsRestClassifier(LogisticRegression()), three > 0),
    "there or not": (BernoulliNB(), NAMES),
    "ridge": (KernelRidge(kernel="rbf"), SIZES),
    "polynomial ridge": (KernelRidge(kernel="polynomial", gamma=0.1), SIZES),
    "process": (GaussianProcessRegressor(), SIZES),
    "noise": (process(RBF([1.0] * 5) + WhiteKernel()), SIZES),
    "rough": (process(Matern(nu=0.5) * 2.0), SIZES),
    "less rough": (process(Matern(nu=1.5)), SIZES),
    "smooth": (process(Matern(nu=2.5)), SIZES),
    "quadratic": (process(RationalQuadratic()), SIZES),
    "dots": (process(DotProduct()), SIZES),
    "cross": (CCA(2), X[:, :2] @ [[1, 2], [3, 1]]),
    "canonical": (PLSCanonical(2), X[:, :2] @ [[1, 2], [3, 1]]),
    "means": (MeanShift(bandwidth=2.0), None),
    "examples": (AffinityPropagation(max_iter=500, random_state=0), None),
    "mixture": (GaussianMixture(3, random_state=0), None),
    "one shape": (GaussianMixture(3, covariance_type="tied", random_state=0), None),
    "upright": (GaussianMixture(3, covariance_type="diag", random_state=0), None),
    "balls": (GaussianMixture(3, covariance_type="spherical", random_state=0), None),
    "isolated": (IsolationForest(n_estimators=10, max_features=0.5, random_state=0), None),
    "outside": (OneClassSVM(), None),
    "chosen": (SequentialFeatureSelector(LogisticRegression(), cv=2), three),
}


@pytest.mark.parametrize("name", share(MODELS, 2))
def test_equal_in_float64(name):
    model, target = MODELS[name]
    _, result = compiled(model.fit(X, target))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason


@pytest.mark.parametrize("kind", [MultinomialNB, ComplementNB])
def test_naive_bayes_gives_logarithms_too(kind):
    _, result = compiled(kind().fit(np.abs(X), NAMES))

    assert isinstance(result, Compiled), result.reason
    assert "does not give" not in result.reason


def test_outliers_come_with_their_scores():
    _, result = compiled(IsolationForest(n_estimators=10, random_state=0).fit(X))

    assert isinstance(result, Compiled), result.reason
    names = [spec.name for spec in result.predictor.signature.outputs]
    assert ["label", "decision_function", "score_samples"] == names


WORKERS = {
    "another kernel": (KernelRidge(kernel="laplacian"), SIZES, "with another kernel"),
    "a power": (process(RBF() ** 2.0), SIZES, "with the kernel Exponentiation"),
    "a decision function": (
        FixedThresholdClassifier(LinearSVC()),
        TWO,
        "decides by a decision function",
    ),
}


@pytest.mark.parametrize("name", WORKERS)
def test_the_reason_is_told(name):
    model, target, reason = WORKERS[name]
    _, result = compiled(model.fit(X, target))

    assert isinstance(result, Refused)
    assert reason in result.reason
