"""Columns that an estimator does not speak of: how many there are, and what they take.

Expected answers are the estimator's own, to the array that its author would give it.
"""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import MiniBatchSparsePCA, SparsePCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import SkewedChi2Sampler
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pushserve_sandbox.inspection import estimator as inspecting
from pushserve_sandbox.inspection.column_knowledge import Known
from tests.fixtures.doors import Doors
from tests.fixtures.shares import share

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


def same_rows(data):
    return data


def last(steps=()):
    return make_pipeline(*steps, LogisticRegression())


@pytest.mark.parametrize(
    "model",
    share(
        [
            last(["passthrough"]),
            last([FunctionTransformer()]),
            CalibratedClassifierCV(last(["passthrough"]), cv=2),
            VotingClassifier([("a", last(["passthrough"])), ("b", last(["passthrough"]))]),
            last([Scaled()]),
            last([Wider(), StandardScaler()]),
            last([make_pipeline(Scaled(), StandardScaler())]),
            VotingClassifier([("a", last([Scaled()])), ("b", last([Wider()]))]),
        ]
    ),
)
def test_columns_are_counted_where_the_first_step_tells_nothing(folder, model):
    model.fit(X, LABELS)

    doors = Doors(model, folder.signature(model))

    assert ["x0", "x1", "x2"] == [feature.name for feature in doors.signature.inputs]
    assert model.predict(X).tolist() == doors.table(X)["label"].tolist()


@pytest.mark.parametrize("first", share(["passthrough", FunctionTransformer()]))
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
    share(
        [
            [SimpleImputer(strategy="constant", fill_value=0.5)],
            [Gaps(), SimpleImputer()],
            [FunctionTransformer(Gaps().transform), SimpleImputer()],
        ]
    ),
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


@pytest.mark.parametrize(
    "steps", share([[Scaled(), SimpleImputer()], [FunctionTransformer(same_rows), SimpleImputer()]])
)
def test_truth_values_that_an_array_of_floats_took_are_floats(folder, steps):
    data = np.column_stack([np.arange(60) % 2, np.arange(60) % 3 > 1]).astype(float)
    model = make_pipeline(*steps, DecisionTreeClassifier(random_state=0))
    model.fit(data, data[:, 0] > data[:, 1])

    doors = Doors(model, folder.signature(model, engine="worker"))

    frame = pd.DataFrame(data.astype(bool), columns=["x0", "x1"])
    assert model.predict(data).tolist() == doors.rows(frame)["label"].tolist()
    assert model.predict(data).tolist() == doors.table(frame)["label"].tolist()


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


@pytest.mark.parametrize(
    "steps",
    share(
        [
            make_union(MissingIndicator(features="all"), make_pipeline(Scaled(), SimpleImputer())),
            make_union(
                MissingIndicator(features="all"),
                make_pipeline(FunctionTransformer(same_rows), SimpleImputer()),
            ),
            make_pipeline(FunctionTransformer(same_rows), MissingIndicator(features="all")),
        ]
    ),
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
    share(
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
        ]
    ),
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


@pytest.mark.parametrize("number", share([-2300.0, 0.5]))
def test_nulls_alone_beside_numbers_are_numbers(folder, number):
    """An array of NaN and whole numbers holds floats, whose texts end in ".0"."""
    data = np.column_stack([X[:, 0].round(1), np.where(X[:, 1] > 0, number, 7.5)])
    steps = make_pipeline(Strings(), OneHotEncoder(handle_unknown="ignore"))
    model = make_pipeline(steps, DecisionTreeClassifier(random_state=0)).fit(data, data[:, 1] > 1)

    doors = Doors(model, folder.signature(model))

    row = np.array([[np.nan, number]])
    assert ["x0", "x1"] == [feature.name for feature in doors.signature.inputs]
    served = doors.rows(pd.DataFrame(row, columns=["x0", "x1"]))["probabilities"]
    assert model.predict_proba(row).tolist() == served.tolist()


class Product(RegressorMixin, BaseEstimator):
    """Takes as many columns as it has factors, and says so nowhere."""

    def fit(self, data, _target=None):
        self.factors_ = data.mean(axis=0)
        return self

    def predict(self, data):
        return data @ self.factors_


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (Product(), 3),
        (Product(), 1),
        (IsotonicRegression(out_of_bounds="clip"), 1),
    ],
)
def test_a_few_columns_are_counted_by_trying(folder, model, columns):
    data = X[:, :columns].round(2)
    model.fit(data, (data[:, 0] > 0).astype(int))

    doors = Doors(model, folder.signature(model, engine="worker"))

    (name,) = doors.signature.default_outputs[:1]
    assert columns == len(doors.signature.inputs)
    assert np.allclose(model.predict(data), doors.table(data)[name])


@pytest.mark.parametrize(
    "model",
    share(
        [
            RadiusNeighborsClassifier(0.5),
            RadiusNeighborsRegressor(0.5),
            make_pipeline(MinMaxScaler(), SkewedChi2Sampler(skewedness=0.01, random_state=0)),
        ]
    ),
)
def test_made_up_rows_are_like_those_of_fitting(folder, model):
    """Others are far from all that these know, or too small."""
    data = 1000 + X
    model.fit(data, LABELS if hasattr(model, "classes_") else X[:, 0] > 0)

    result = folder.build(model)

    assert result["ok"], result


@pytest.mark.parametrize("estimator", share([SparsePCA(2, random_state=0), MiniBatchSparsePCA(2)]))
def test_the_only_row_by_itself_is_a_row(folder, estimator):
    model = estimator.fit(X)

    doors = Doors(model, folder.signature(model))

    assert np.allclose([model.transform(X[:1])], doors.table(X[:1])["transform"])


def handed_on(columns=("a", "b")):
    return make_column_transformer(("passthrough", list(columns)))


@pytest.mark.parametrize(
    ("frame", "example"),
    [
        (pd.DataFrame({"a": [0.5, 1.0], "b": [2.5, 2.0]}), {"a": 0.5, "b": 2.5}),
        (pd.DataFrame({"a": [True, False], "b": [0.5, 1.0]}), {"a": True, "b": 0.5}),
        (pd.DataFrame({"a": ["x", None], "b": ["y", None]}), {"a": "x", "b": "y"}),
    ],
)
def test_an_output_has_one_type_whatever_the_rows(folder, frame, example):
    """Whole numbers alone, and nulls alone, are of another type than others beside them."""
    model = make_pipeline(FunctionTransformer(same_rows), handed_on()).fit(frame)
    folder.write("examples.json", [{"input": example}])

    doors = Doors(model, folder.signature(model))

    for row in (frame[:1], frame[1:]):
        served = doors.rows(row.reset_index(drop=True))["transform"]
        assert served.dtype == doors.rows(frame)["transform"].dtype
        if frame.a.dtype == float:
            assert np.array_equal(model.transform(row).astype(float), served)


@pytest.mark.parametrize("steps", share([["passthrough"], [FunctionTransformer(same_rows)]]))
def test_numbers_that_are_handed_on_need_no_example(folder, steps):
    """What nothing tells the type of is a number, unless an example holds a text."""
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.0]})
    model = make_column_transformer((make_pipeline(*steps), ["a"]), ("passthrough", ["b"]))

    doors = Doors(model.fit(frame), folder.signature(model))

    assert model.transform(frame).tolist() == doors.rows(frame)["transform"].tolist()


def test_the_only_column_of_a_model_without_names_may_be_called_anything(folder):
    frame = pd.DataFrame({"size": X[:, 0]})
    model = last().fit(frame.to_numpy(), LABELS)

    doors = Doors(model, folder.signature(model))

    assert model.predict(frame.to_numpy()).tolist() == doors.table(frame)["label"].tolist()
    assert model.predict(frame.to_numpy()).tolist() == doors.rows(frame)["label"].tolist()


@pytest.mark.parametrize("kept", share(["factors", "_factors", "weights"]))
def test_what_fit_found_may_have_any_name(folder, kept):
    """scikit-learn's own end in "_"; people's do not always, and answer all the same."""
    model = Product().fit(X)
    setattr(model, kept, vars(model).pop("factors_"))
    folder.write(
        "product.py",
        "from sklearn.base import BaseEstimator, RegressorMixin\n"
        "class Product(RegressorMixin, BaseEstimator):\n"
        f"    def predict(self, data):\n        return data @ self.{kept}\n",
    )
    folder.write("model.pkl", b"cproduct\nProduct\n)\x81" + pickle.dumps(vars(model))[2:-1] + b"b.")

    result = folder.build(format="pickle", artifact="model.pkl")

    assert result["ok"], result
