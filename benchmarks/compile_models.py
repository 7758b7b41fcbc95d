"""The models that compile_table.py tries: one of each estimator, and usual pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes IterativeImputer importable)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

X, Y = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
FRAME = pd.DataFrame(
    {
        "size": HOLES[:, 0],
        "age": np.round(20 * np.abs(X[:, 1])),
        "colour": np.array(["red", "blue", None], object)[Y],
        "shop": np.array(["n", "s"])[(X[:, 2] > 0).astype(int)],
    }
)
_LINES = ("good day to you", "bad day, sir", "a good night", "the night is young", "worst of days")
TEXTS = np.array([f"{_LINES[(y + i % 2) % 5]}; {_LINES[i % 5]}" for i, y in enumerate(Y)], object)

_CLASSES, _VALUES = LogisticRegression(), Ridge()
_PAIR = [("one", LogisticRegression()), ("two", DecisionTreeClassifier(max_depth=3))]
_VALUE_PAIR = [("one", Ridge()), ("two", DecisionTreeRegressor(max_depth=3))]
_GRID = {"C": [0.1, 1.0]}
OPTIONS: dict[str, dict[str, Any]] = {
    "BayesianGaussianMixture": {"n_components": 3},
    "ClassifierChain": {"estimator": _CLASSES},
    "ColumnTransformer": {"transformers": [("one", StandardScaler(), [0, 1])]},
    "FeatureUnion": {"transformer_list": [("one", StandardScaler()), ("two", SimpleImputer())]},
    "FixedThresholdClassifier": {"estimator": _CLASSES},
    "FrozenEstimator": {"estimator": LogisticRegression().fit(X, Y)},
    "GaussianRandomProjection": {"n_components": 3},
    "GaussianMixture": {"n_components": 3},
    "GenericUnivariateSelect": {"mode": "k_best", "param": 3},
    "GridSearchCV": {"estimator": _CLASSES, "param_grid": _GRID},
    "KBinsDiscretizer": {"quantile_method": "averaged_inverted_cdf"},
    "LocalOutlierFactor": {"novelty": True},
    "MultiOutputClassifier": {"estimator": _CLASSES},
    "MultiOutputRegressor": {"estimator": _VALUES},
    "OneVsOneClassifier": {"estimator": _CLASSES},
    "OneVsRestClassifier": {"estimator": _CLASSES},
    "OutputCodeClassifier": {"estimator": _CLASSES, "random_state": 0},
    "Pipeline": {"steps": [("one", StandardScaler()), ("two", _CLASSES)]},
    "RFE": {"estimator": _CLASSES},
    "RFECV": {"estimator": _CLASSES},
    "RandomizedSearchCV": {"estimator": _CLASSES, "param_distributions": _GRID, "n_iter": 2},
    "RegressorChain": {"estimator": _VALUES},
    "SelectFromModel": {"estimator": _CLASSES},
    "SelectPercentile": {"percentile": 50},
    "SelfTrainingClassifier": {"estimator": _CLASSES},
    "SequentialFeatureSelector": {"estimator": _CLASSES},
    "SparseCoder": {"dictionary": X[:4]},
    "SparseRandomProjection": {"n_components": 3},
    "StackingClassifier": {"estimators": _PAIR},
    "StackingRegressor": {"estimators": _VALUE_PAIR},
    "TransformedTargetRegressor": {"func": np.log1p, "inverse_func": np.expm1},
    "TunedThresholdClassifierCV": {"estimator": _CLASSES},
    "VotingClassifier": {"estimators": _PAIR, "voting": "soft"},
    "VotingRegressor": {"estimators": _VALUE_PAIR},
}
"""What an estimator is made with, where its defaults are not enough."""
NOT_ROWS = {
    "DictVectorizer": "it takes dicts, not the rows of a table",
    "FeatureHasher": "it takes dicts, not the rows of a table",
    "KernelCenterer": "it takes a matrix of kernels, not the rows of a table",
    "LabelBinarizer": "it is for targets, not for rows",
    "LabelEncoder": "it is for targets, not for rows",
    "MultiLabelBinarizer": "it is for targets, not for rows",
    "PatchExtractor": "it takes images, not the rows of a table",
}


def fitted(name: str, cls: type[Any]) -> Any:
    """Fit on what the estimator takes: continuous, positive, or of classes."""
    model = cls(**OPTIONS.get(name, {}))
    target = np.abs(X[:, 0]) + Y if is_regressor(model) else Y
    attempts = [(X, target), (np.abs(X), target), (np.abs(X[:, :1]), target)]
    if hasattr(model, "vocabulary"):
        attempts.insert(0, (TEXTS, Y))
    attempts += [(X, np.c_[target, target]), (X, (Y > 0).astype(int))]
    error: Exception | None = None
    for data, wanted in attempts:
        try:
            return clone(model).fit(data, wanted)
        except Exception as raised:  # noqa: BLE001 (each estimator raises what it likes)
            error = error or raised
    assert error is not None
    raise error


def pipelines() -> Iterator[tuple[str, Any]]:
    yield from _tables()
    yield from _numbers()
    yield from _texts()


def _tables() -> Iterator[tuple[str, Any]]:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore")
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    rare = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=110)
    last: dict[str, tuple[Any, Any]] = {
        "one hot + LogisticRegression": (one_hot, LogisticRegression()),
        "imputer, one hot + LogisticRegression": (filled, LogisticRegression()),
        "imputer, one hot + RandomForestClassifier": (filled, RandomForestClassifier(20)),
        "one hot of rare ones + LogisticRegression": (rare, LogisticRegression()),
        "ordinal + HistGradientBoostingClassifier": (
            ordinal,
            HistGradientBoostingClassifier(max_iter=20),
        ),
        "target encoder + Ridge": (TargetEncoder(), Ridge()),
    }
    for name, (texts, estimator) in last.items():
        columns = make_column_transformer((numbers, ["size", "age"]), (texts, ["colour", "shop"]))
        yield f"ColumnTransformer: {name}", fitted_on(columns, estimator, FRAME)
    columns = ["colour", "shop"]
    boosting = HistGradientBoostingClassifier(max_iter=20, categorical_features=columns)
    yield "HistGradientBoostingClassifier over categories", boosting.fit(FRAME, Y)
    beside = make_column_transformer((TfidfVectorizer(), "review"), (numbers, ["size"]))
    frame = FRAME.assign(review=TEXTS)
    yield (
        "ColumnTransformer: TfidfVectorizer beside numbers + LogisticRegression",
        fitted_on(beside, LogisticRegression(), frame),
    )


def _numbers() -> Iterator[tuple[str, Any]]:
    steps: dict[str, Callable[[], Any]] = {
        "StandardScaler": StandardScaler,
        "PolynomialFeatures": lambda: PolynomialFeatures(2),
        "KBinsDiscretizer": lambda: KBinsDiscretizer(
            encode="ordinal", quantile_method="averaged_inverted_cdf"
        ),
        "PowerTransformer": PowerTransformer,
        "SplineTransformer": SplineTransformer,
        "union of StandardScaler and SimpleImputer": lambda: make_union(
            StandardScaler(), SimpleImputer()
        ),
    }
    for name, step in steps.items():
        forest = RandomForestClassifier(20, random_state=0)
        yield f"{name} + RandomForestClassifier", fitted_on(step(), forest, X)
    yield "StandardScaler + SVC", fitted_on(StandardScaler(), SVC(), X)
    logs = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1)
    yield (
        "StandardScaler + TransformedTargetRegressor of Ridge",
        make_pipeline(StandardScaler(), logs).fit(X, np.abs(X[:, 0])),
    )
    for imputer in (SimpleImputer(add_indicator=True), KNNImputer(), IterativeImputer()):
        name = f"{type(imputer).__name__} + LogisticRegression"
        yield name, fitted_on(imputer, LogisticRegression(), HOLES)


def _texts() -> Iterator[tuple[str, Any]]:
    pairs = TfidfVectorizer(ngram_range=(1, 2), stop_words="english", sublinear_tf=True)
    for vectorizer, last in (
        (CountVectorizer(), LogisticRegression()),
        (CountVectorizer(), MultinomialNB()),
        (TfidfVectorizer(), LogisticRegression()),
        (TfidfVectorizer(), LinearSVC()),
        (TfidfVectorizer(), ComplementNB()),
        (TfidfVectorizer(), RandomForestClassifier(20, random_state=0)),
        (HashingVectorizer(n_features=64), LogisticRegression()),
    ):
        name = f"{type(vectorizer).__name__} + {type(last).__name__}"
        yield name, fitted_on(vectorizer, last, TEXTS)
    yield (
        "TfidfVectorizer of pairs of words, stop words + SGDClassifier",
        fitted_on(pairs, SGDClassifier(random_state=0), TEXTS),
    )
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    yield "TfidfVectorizer of letters + LinearSVC", fitted_on(letters, LinearSVC(), TEXTS)
    topics = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    yield "TfidfVectorizer + TruncatedSVD + SVC", fitted_on(topics, SVC(), TEXTS)


def fitted_on(first: Any, last: Any, data: Any) -> Any:
    return make_pipeline(first, last).fit(data, Y.astype(float) if is_regressor(last) else Y)
