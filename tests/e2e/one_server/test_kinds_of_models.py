# ruff: noqa: E501 (a table reads by its lines)
"""Estimators of every kind, by a whole server: what they answer is what scikit-learn answers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from pushserve_client import Client, errors
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served
from tests.fixtures.shares import share

IRIS = load_iris()
DIABETES = load_diabetes()
X, Y = IRIS.data, IRIS.target
NAMES = IRIS.target_names[Y]
MANY = make_multilabel_classification(60, n_features=5, n_classes=3, random_state=0)
METHODS = {
    "label": "predict",
    "value": "predict",
    "probabilities": "predict_proba",
    "decision_function": "decision_function",
    "transform": "transform",
}


def pair_regressor() -> Any:
    return LinearRegression().fit(DIABETES.data, np.c_[DIABETES.target, -DIABETES.target])


# The estimator, rows for it, and the outputs to compare.
KINDS = {
    "integer labels": (lambda: LogisticRegression(max_iter=1000).fit(X, Y), X, ["label", "probabilities"]),
    "text labels": (lambda: GaussianNB().fit(X, NAMES), X, ["label", "probabilities"]),
    "boolean labels": (lambda: DecisionTreeClassifier(max_depth=3).fit(X, Y == 1), X, ["label", "probabilities"]),
    "no probabilities": (lambda: RidgeClassifier().fit(X, Y), X, ["label", "decision_function"]),
    "two classes": (lambda: SVC().fit(X, Y > 0), X, ["label", "decision_function"]),
    "neighbours": (lambda: KNeighborsClassifier().fit(X, NAMES), X, ["label", "probabilities"]),
    "boosting": (lambda: GradientBoostingClassifier(n_estimators=5).fit(X, Y), X, ["label", "probabilities"]),
    "a search": (lambda: GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.1, 1]}, n_jobs=1).fit(X, Y), X, ["label", "probabilities"]),
    "a vote": (lambda: VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=1000))], voting="soft", n_jobs=2).fit(X, NAMES), X, ["label", "probabilities"]),
    "several labels": (lambda: KNeighborsClassifier().fit(*MANY), MANY[0], ["label"]),
    "a forest's values": (lambda: RandomForestRegressor(5, n_jobs=-1).fit(DIABETES.data, DIABETES.target), DIABETES.data, ["value"]),
    "histograms": (lambda: HistGradientBoostingRegressor(max_iter=5).fit(DIABETES.data, DIABETES.target), DIABETES.data, ["value"]),
    "a network": (lambda: make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0)).fit(DIABETES.data, DIABETES.target), DIABETES.data, ["value"]),
    "two values": (pair_regressor, DIABETES.data, ["value"]),
    "clusters": (lambda: KMeans(3, random_state=0, n_init=1).fit(X), X, ["label", "transform"]),
    "outliers": (lambda: IsolationForest(n_estimators=5, random_state=0).fit(X), X, ["label", "decision_function"]),
    "a transformer": (lambda: PCA(2).fit(X), X, ["transform"]),
    "a frame": (lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(models.iris_frame(), NAMES), models.iris_frame(), ["label", "probabilities"]),
}  # fmt: skip

UNSPACED = models.iris_frame().rename(columns=lambda name: name.replace(" ", "_"))
"""LightGBM forgets the spaces in names."""
CATEGORIES = UNSPACED.assign(
    size=pd.Categorical(np.where(UNSPACED.iloc[:, 2] > 4, "large", "small"))
)
# By a package of their own: its name, the model, the rows, and the engine.
BOOSTED = {
    "xgboost": ("xgboost", lambda xgboost: xgboost.XGBClassifier(n_estimators=5, n_jobs=4).fit(models.iris_frame(), Y), models.iris_frame(), "onnx"),
    "xgboost, scaled": ("xgboost", lambda xgboost: make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=5)).fit(DIABETES.data, DIABETES.target), DIABETES.data, "onnx"),
    "xgboost that drops trees": ("xgboost", lambda xgboost: xgboost.XGBClassifier(n_estimators=5, n_jobs=4, booster="dart", rate_drop=0.5).fit(X, Y), X, "worker"),
    "lightgbm": ("lightgbm", lambda lightgbm: lightgbm.LGBMClassifier(n_estimators=5, n_jobs=4, verbose=-1).fit(UNSPACED, NAMES), UNSPACED, "onnx"),
    "lightgbm of categories": ("lightgbm", lambda lightgbm: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(CATEGORIES, NAMES), CATEGORIES, "worker"),
    "lightgbm's linear trees": ("lightgbm", lambda lightgbm: lightgbm.LGBMRegressor(n_estimators=5, n_jobs=4, verbose=-1, linear_tree=True).fit(DIABETES.data, DIABETES.target), DIABETES.data, "worker"),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


@pytest.mark.filterwarnings("ignore")  # few iterations do not converge
@pytest.mark.parametrize("kind", share(KINDS))
def test_a_kind_of_model(served: Served, hub: GitHost, client: Client, kind: str):
    make, data, outputs = KINDS[kind]
    model = make()
    name = kind.replace(" ", "-").replace("'", "")
    repo = hub.create(name)
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)
    # The last are more than k-means works on in one thread.
    for rows in (
        data[:1],
        data[::9],
        data[np.arange(400) % len(data)] if isinstance(data, np.ndarray) else data,
    ):
        answer = client.predict(name, rows, outputs=outputs)
        for output in outputs:
            expected = np.asarray(getattr(model, METHODS[output])(rows))
            given = answer[output]
            assert expected.shape == given.shape
            if expected.dtype.kind in "US":
                assert expected.tolist() == given.tolist()
            else:
                # The worker may have batched, and BLAS adds a batch up in another order.
                assert np.allclose(expected, given, rtol=1e-12, atol=1e-12)
    if "probabilities" in outputs:
        assert tuple(str(c) for c in model.classes_) == answer.classes


@pytest.mark.parametrize("kind", share(BOOSTED))
def test_a_boosted_model(served: Served, hub: GitHost, client: Client, kind: str):
    package, make, data, engine = BOOSTED[kind]
    model = make(pytest.importorskip(package, reason=f"{package} is an optional extra"))
    name = kind.replace(" ", "-").replace("'", "").replace(",", "")
    repo = hub.create(name)
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)

    found = client.get(name).version

    assert engine == found.engine, found.engine_reason
    if isinstance(data, pd.DataFrame):
        assert list(data.columns) == [item.name for item in found.signature.inputs]
    holes = data.copy()
    holes[::3] = np.nan
    for rows in (data[:1], data, holes):
        answer = client.predict(name, rows)
        if hasattr(model, "classes_"):
            assert model.predict(rows).tolist() == answer.label.tolist()
            # XGBoost's are float32; a graph's may be the one beside it.
            expected, given = model.predict_proba(rows), answer.probabilities
        else:
            expected, given = model.predict(rows), answer.value
        assert np.allclose(expected, given, rtol=2.5e-7, atol=1e-12)


def test_texts_in_one_column(served: Served, hub: GitHost, client: Client):
    """A vectorizer takes a list of texts, not a table."""
    texts = ["good day", "bad day", "good night", "bad night", "good", "bad"] * 3
    labels = ["+" if "good" in text else "-" for text in texts]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    repo = hub.create("texts")
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)
    (feature,) = client.get("texts").version.signature.inputs
    answer = client.predict("texts", [{feature.name: text} for text in texts[:4]])
    assert model.predict(texts[:4]).tolist() == answer.label.tolist()
    assert np.allclose(model.predict_proba(texts[:4]), answer.probabilities, rtol=1e-12)


def test_a_model_with_a_module_of_its_own(served: Served, hub: GitHost, client: Client, tmp_path):
    """A class that lies beside the pickle is found."""
    import importlib.util
    import sys

    code = """
from sklearn.base import BaseEstimator, RegressorMixin

class Tripler(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def predict(self, X):
        return [3.0 * row[0] for row in X]
"""
    file = tmp_path / "own_parts.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("own_parts", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_parts"] = module
    try:
        spec.loader.exec_module(module)
        artifact = models.dumped(module.Tripler().fit(None))
    finally:
        del sys.modules["own_parts"]
    repo = hub.create("own-parts")
    repo.commit({"model.joblib": artifact, "own_parts.py": code})
    served.ready(repo.url)
    assert [6.0, -3.0] == client.predict("own-parts", [[2.0], [-1.0]]).value.tolist()


def test_predict_batch_and_any_json(served: Served, hub: GitHost, client: Client):
    code = """
def predict_batch(rows):
    return [{"echo": row, "count": len(row), "none": None, "deep": [[1], {"a": [True]}]} for row in rows]
"""
    repo = hub.create("batch")
    repo.commit(models.script_files(code))
    served.ready(repo.url)
    rows = [{"a": [1.5, None, "x"], "b": {"c": True}}, {}, {"ü": "☃"}]
    answer = client.predict("batch", rows)
    assert rows == [row["echo"] for row in answer.rows]
    assert [2, 0, 1] == [row["count"] for row in answer.rows]
    assert [[1], {"a": [True]}] == answer.rows[0]["deep"]


def test_whole_numbers_and_categories(served: Served, hub: GitHost, client: Client):
    """Types are kept: what was trained on integers and categories is given them."""
    frame = pd.DataFrame({"size": np.arange(40), "colour": ["red", "blue"] * 20})
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    columns = make_column_transformer((OneHotEncoder(), ["colour"]), ("passthrough", ["size"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(40) % 2 == 0)
    repo = hub.create("colours")
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)
    answer = client.predict("colours", frame.iloc[:6])
    assert model.predict(frame.iloc[:6]).tolist() == answer.label.tolist()
    with pytest.raises(errors.InvalidArgument) as caught:
        client.predict("colours", [{"size": 3, "colour": "green"}])
    assert ["colour"] == [violation.field for violation in caught.value.violations]
    assert "'red'" in caught.value.violations[0].description
