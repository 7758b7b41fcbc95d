"""Columns that an estimator does not speak of: how many there are, and what they take.

Expected answers are the estimator's own, to the array that its author would give it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pushserve_sandbox.inspection import estimator as inspecting
from pushserve_sandbox.inspection.column_knowledge import Known
from tests.fixtures.doors import Doors

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > X[:, 1], "yes", "no")
TEXTS = np.array([["Ulm", "a"], ["Bonn", "b"], ["Ulm", "b"]] * 10, object)


class Silent(TransformerMixin, BaseEstimator):
    """A step of people's own that keeps nothing."""

    def fit(self, _data, _target=None):
        return self


class Scaled(Silent):
    def transform(self, data):
        return data * 2


class Wider(Silent):
    """Adds a column."""

    def transform(self, data):
        return np.column_stack([data, data.sum(axis=1)])


class Narrow(Silent):
    """Takes the first columns of however many."""

    def transform(self, data):
        return data[:, :2]


class Strings(Silent):
    def transform(self, data):
        return data.astype(str)


class ByFrame(Silent):
    def transform(self, data):
        return data[data.columns[::-1]].to_numpy()


class Gaps(Silent):
    """Marks what is small; whole numbers have no NaN, and NumPy says so."""

    def transform(self, data):
        data = data.copy()
        data[np.abs(data) < 0.5] = np.nan
        return data


class GapsOfFrames(Silent):
    """The same in a frame, whose column of whole numbers takes no fraction."""

    def transform(self, data):
        data = data.copy()
        data.loc[data["a"] < 100, "a"] = 0.5
        return data


def last(steps=()):
    return make_pipeline(*steps, LogisticRegression())


@pytest.mark.parametrize(
    "model",
    [
        last(["passthrough"]),
        last([FunctionTransformer()]),
        CalibratedClassifierCV(last(["passthrough"]), cv=2),
        VotingClassifier([("a", last(["passthrough"])), ("b", last(["passthrough"]))]),
        last([Scaled()]),
        last([Wider(), StandardScaler()]),
        last([make_pipeline(Scaled(), StandardScaler())]),
        VotingClassifier([("a", last([Scaled()])), ("b", last([Wider()]))]),
    ],
)
def test_columns_are_counted_where_the_first_step_tells_nothing(folder, model):
    model.fit(X, LABELS)

    doors = Doors(model, folder.signature(model))

    assert ["x0", "x1", "x2"] == [feature.name for feature in doors.signature.inputs]
    assert model.predict(X).tolist() == doors.table(X)["label"].tolist()


@pytest.mark.parametrize("first", ["passthrough", FunctionTransformer()])
def test_names_that_the_next_step_was_fitted_on_are_kept(folder, first):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = last([first]).fit(frame, LABELS)

    doors = Doors(model, folder.signature(model))

    assert model.predict(frame).tolist() == doors.rows(frame)["label"].tolist()


def test_texts_in_an_array_are_counted_too(folder):
    """scikit-learn warns of names that the encoder behind was not fitted on: it was an array."""
    labels = TEXTS[:, 0] == "Ulm"
    steps = make_pipeline(Strings(), OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model = steps.fit(TEXTS, labels)

    doors = Doors(model, folder.signature(model))

    frame = pd.DataFrame(TEXTS, columns=["x0", "x1"])
    assert labels.tolist() == doors.rows(frame)["label"].tolist()


@pytest.mark.parametrize("step", [Narrow(), ByFrame()])
def test_what_takes_any_count_or_names_is_asked_for(folder, step):
    """Nobody can tell how many columns there were, or what they were called."""
    data = pd.DataFrame(X[:, :2], columns=["a", "b"]) if isinstance(step, ByFrame) else X
    model = last([step]).fit(data, LABELS)

    result = folder.build(model)

    assert "SIGNATURE_UNKNOWN" == result.get("reason"), result
    assert "examples.json" in result["fix"]


@pytest.mark.parametrize(
    "steps",
    [
        [SimpleImputer(strategy="constant", fill_value=0.5)],
        [Gaps(), SimpleImputer()],
        [FunctionTransformer(Gaps().transform), SimpleImputer()],
    ],
)
def test_whole_numbers_that_an_array_of_floats_took_are_floats(folder, steps):
    data = np.column_stack([np.arange(60) % 5, np.arange(60) % 3]).astype(float)
    model = make_pipeline(*steps, DecisionTreeClassifier(random_state=0))
    model.fit(data, data[:, 0] > 2)
    with pytest.raises((ValueError, TypeError)):
        model.predict(data.astype(int))

    doors = Doors(model, folder.signature(model, engine="worker"))

    expected = model.predict(data).tolist()
    assert expected == doors.rows(pd.DataFrame(data, columns=["x0", "x1"]))["label"].tolist()
    assert expected == doors.table(data.astype(int))["label"].tolist()


def test_whole_numbers_that_a_frame_of_floats_took_are_floats(folder):
    frame = pd.DataFrame({"a": X[:, 0].round(), "b": X[:, 1]})
    columns = make_column_transformer((GapsOfFrames(), ["a"]), ("passthrough", ["b"]))
    model = make_pipeline(columns, DecisionTreeClassifier()).fit(frame, LABELS)

    doors = Doors(model, folder.signature(model))

    assert model.predict(frame).tolist() == doors.rows(frame)["label"].tolist()


class NullsOfNumbers(Silent):
    def transform(self, data):
        return np.isnan(np.asarray(data)).astype(float)


def test_a_null_alone_is_of_the_type_that_the_model_takes(folder):
    """One branch makes texts of numbers, which is all that is known; the other takes no text."""
    encoded = last([Strings(), OneHotEncoder(handle_unknown="ignore")])
    vote = VotingClassifier([("a", encoded), ("b", last([NullsOfNumbers()]))], voting="soft")
    data = np.where(X > 1, np.nan, X.round())
    model = vote.fit(data, LABELS)

    doors = Doors(model, folder.signature(model))

    nulls = pd.DataFrame({"x0": [np.nan], "x1": [np.nan], "x2": [np.nan]})
    assert model.predict(nulls.to_numpy()).tolist() == doors.rows(nulls)["label"].tolist()


def same_rows(data):
    return data


@pytest.mark.parametrize(
    "steps",
    [
        make_union(MissingIndicator(features="all"), make_pipeline(Scaled(), SimpleImputer())),
        make_union(
            MissingIndicator(features="all"),
            make_pipeline(FunctionTransformer(same_rows), SimpleImputer()),
        ),
        make_pipeline(FunctionTransformer(same_rows), MissingIndicator(features="all")),
    ],
)
def test_truth_values_beside_nulls_are_no_difference(folder, steps):
    """Trial rows hold these where the type is open: they are objects with None, as in JSON."""
    frame = pd.DataFrame({"a": np.where(X[:, 0] > 1, np.nan, X[:, 0])})
    model = make_pipeline(make_column_transformer((steps, ["a"])), DecisionTreeClassifier())

    result = folder.build(model.fit(frame, LABELS))

    assert result["ok"], result


class Tail(Silent):
    """A meta-estimator that has one more column decide, which what it holds does not see."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, data, target):
        self.inner_ = self.inner.fit(data, target)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, data):
        return np.where(data["c"] > 0, self.inner_.predict(data), "no")


def first_columns(end=None):
    columns = make_column_transformer((StandardScaler(), ["a", "b"]))
    return make_pipeline(columns, end or LogisticRegression())


@pytest.mark.parametrize(
    "model",
    [
        StackingClassifier([("m", first_columns())], cv=2, passthrough=True),
        make_pipeline(
            make_union(make_column_transformer((StandardScaler(), ["a"])), "passthrough"),
            LogisticRegression(),
        ),
        make_pipeline(
            make_union(
                make_column_transformer((StandardScaler(), ["a", "b"])),
                make_column_transformer(("passthrough", ["c"])),
            ),
            LogisticRegression(),
        ),
        VotingClassifier([("a", first_columns()), ("b", last())], voting="soft"),
        Tail(first_columns()),
    ],
)
def test_a_column_that_some_part_sees_is_used(folder, model):
    """What the others leave out is no reason to hold its values back."""
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model.fit(frame, np.where(frame.c > 0, "yes", "no"))

    doors = Doors(model, folder.signature(model, engine="worker"))

    assert model.predict(frame).tolist() == doors.table(frame)["label"].tolist()
    assert model.predict(frame).tolist() == doors.rows(frame)["label"].tolist()


def test_that_a_column_is_not_used_is_proved(folder, monkeypatch):
    """What fitting left may mislead; two values then show that the column is seen."""
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = last().fit(frame, np.where(frame.c > 0, "yes", "no"))
    unused = [Known(numbers=True), Known(numbers=True), Known(used=False)]
    monkeypatch.setattr(inspecting, "known_features", lambda _model, _names: list(unused))

    doors = Doors(model, folder.signature(model, engine="worker"))

    assert model.predict(frame).tolist() == doors.table(frame)["label"].tolist()
