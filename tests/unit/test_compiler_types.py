"""A graph or a fast path answers for what it was read from alone: never for a class of one's own.

Each rule here speaks only where a number is 777, which is in no trial row.
"""

from __future__ import annotations

import types

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.fast_paths.select import with_first_equal
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from pushserve_sandbox.prediction.model_outputs import quiet

X, y = load_iris(return_X_y=True)
RULE = 777.0


def ruled(labels, rows):
    """Answer 2 where the rule speaks."""
    return np.where((np.asarray(rows) == RULE).any(axis=1), 2, labels)


class Searched(ClassifierMixin, BaseEstimator):
    """Anything may be called best_estimator_."""

    def fit(self, rows, labels):
        self.best_estimator_ = LogisticRegression(max_iter=500).fit(rows, labels)
        self.classes_, self.n_features_in_ = self.best_estimator_.classes_, rows.shape[1]
        return self

    def predict(self, rows):
        return ruled(self.best_estimator_.predict(rows), rows)


class Search(GridSearchCV):
    def predict(self, rows):
        return ruled(super().predict(rows), rows)


class Steps(Pipeline):
    def transform(self, rows):
        return np.where(np.asarray(rows) == RULE, 9.0, super().transform(rows))


class Scaler(StandardScaler):
    def transform(self, rows):
        return np.where(np.asarray(rows) == RULE, 9.0, super().transform(rows))


class Logistic(LogisticRegression):
    def predict_proba(self, rows):
        return np.where(np.asarray(rows)[:, :1] == RULE, 1 / 3, super().predict_proba(rows))


def patched(model):
    """One's own predict, on the instance."""
    own = model.predict
    model.predict = lambda rows: ruled(own(rows), rows)
    return model


def with_patched_step():
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    own = model[0].transform
    model[0].transform = types.MethodType(
        lambda _, rows: np.where(np.asarray(rows) == RULE, 9.0, own(rows)), model[0]
    )
    return model


def with_patched_tree():
    forest = RandomForestClassifier(3, random_state=0).fit(X, y)
    patched(forest.estimators_[1])
    return forest


def with_patched_branch():
    columns = ColumnTransformer([("all", StandardScaler(), [0, 1, 2, 3])])
    model = make_pipeline(columns, LogisticRegression()).fit(X, y)
    scaler = model[0].named_transformers_["all"]
    own = scaler.transform
    scaler.transform = lambda rows: np.where(np.asarray(rows) == RULE, 9.0, own(rows))
    return model


OWN = {
    "best_estimator_": lambda: Searched().fit(X, y),
    "search": lambda: Search(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}).fit(X, y),
    "pipeline as a step": lambda: Pipeline(
        [("first", Steps([("scale", StandardScaler())])), ("last", LogisticRegression())]
    ).fit(X, y),
    "step": lambda: make_pipeline(Scaler(), LogisticRegression()).fit(X, y),
    "in a vote": lambda: VotingClassifier(
        [("a", Logistic(max_iter=500)), ("b", DecisionTreeClassifier())], voting="soft"
    ).fit(X, y),
    "in a search of bags": lambda: GridSearchCV(
        BaggingClassifier(make_pipeline(Scaler(), LogisticRegression()), 3), {"max_samples": [0.9]}
    ).fit(X, y),
    "patched": lambda: patched(LogisticRegression(max_iter=500).fit(X, y)),
    "patched pipeline": lambda: patched(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    ),
    "patched in a search": lambda: search_of_patched(),  # noqa: PLW0108 (it is below)
    "patched step": with_patched_step,
    "patched tree": with_patched_tree,
    "patched branch": with_patched_branch,
}


def search_of_patched():
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [1.0]}).fit(X, y)
    patched(search.best_estimator_)
    return search


@pytest.mark.parametrize("name", OWN)
def test_what_has_a_way_of_its_own_is_not_compiled(name):
    model = OWN[name]()

    result = compile_estimator(model, inspect_estimator(model, Declared(), []), [])

    assert isinstance(result, Refused)
    assert "of its own" in result.reason


@pytest.mark.parametrize("name", OWN)
def test_a_fast_path_follows_the_rule(name):
    """What the worker answers is what the estimator's own methods do."""
    model = OWN[name]()
    predictor, _, _ = with_first_equal(model, inspect_estimator(model, Declared(), []), [])
    rows = X[::10].copy()
    rows[::2, 0] = RULE
    names = [spec.name for spec in predictor.signature.outputs]

    with quiet():
        found = predictor.predict([Array(DType.FLOAT64, rows)], names)
        expected = [predictor.functions[output](rows) for output in names]

    for output, own, array in zip(names, expected, found, strict=True):
        assert np.asarray(own).tobytes() == array.values.tobytes(), output


def test_what_is_the_librarys_own_is_compiled_at_any_depth():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        scoring=lambda model, rows, labels: model.score(rows, labels),
    ).fit(X, y)

    result = compile_estimator(search, inspect_estimator(search, Declared(), []), [])

    assert isinstance(result, Compiled), result.reason
