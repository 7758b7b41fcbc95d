"""The same rows by every way that there is to a model, and again: what differs ends the build."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import Accepts, DType, Feature
from pushserve_sandbox.build.answer_check import check_answers
from pushserve_sandbox.build.trial_inputs import trial_inputs
from pushserve_sandbox.inspection import estimator as inspecting
from pushserve_sandbox.prediction.model_inputs import frame_input

X, Y = load_iris(return_X_y=True)
D = pd.DataFrame(X, columns=list("abcd"))
ROW = dict(zip("abcd", X[0].tolist(), strict=True))

STEPS = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

class Step(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.seen_ = 0
        self.rows_ = []
        self.mean_ = np.zeros(X.shape[1])
        return self

class Counting(Step):
    def transform(self, X):
        self.seen_ += 1
        return X + self.seen_

class Averaging(Step):
    def transform(self, X):
        self.seen_ += len(X)
        self.mean_ = self.mean_ + np.nan_to_num(X - self.mean_).sum(axis=0) / self.seen_
        return X - self.mean_

class Remembering(Step):
    def transform(self, X):
        self.rows_.append(X)
        return X + len(self.rows_)

class Drawing(Step):
    def transform(self, X):
        return X + np.random.normal(size=X.shape)

class Strings(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, object)
        return self

    def transform(self, X):
        return X.astype(str).apply(lambda column: column.str.len().fillna(0).astype(int))

class Half(Step):
    def fit(self, X, y=None):
        self.classes_ = np.array([0, 1])
        return super().fit(X)

    def predict(self, X):
        return (X[:, 0] > 0).astype(int)

    def decision_function(self, X):
        if (X[:, 0] < 0).any():
            raise ValueError("negative")
        return X[:, 0]

class NoBools(Step):
    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, object)
        return super().fit(X)

    def transform(self, X):
        if str(X.dtypes.iloc[0]) == "bool":
            raise ValueError("no bool")
        return X.fillna(0).astype(int)

class Nones(Step):
    def transform(self, X):
        kinds = {type(None): 1.0, bool: 2.0}
        return np.array([[kinds.get(type(v), 0.0) for v in row] for row in X.tolist()])

class Caching(Step):
    def transform(self, X):
        self.rows_.append(X.copy())
        return X * 2
"""


@pytest.fixture
def steps(folder):
    """The module of people's own steps, which lies beside the model."""
    folder.write("steps.py", STEPS)
    sys.path.insert(0, str(folder.path))
    import steps

    return steps


def fitted(step):
    return make_pipeline(step, LogisticRegression(max_iter=5000)).fit(X, Y)


@pytest.mark.parametrize("name", ["Counting", "Averaging", "Remembering", "Drawing"])
def test_a_model_that_changes_itself_or_draws_does_not_go_live(folder, steps, name):
    result = folder.build(fitted(getattr(steps, name)()))

    assert "ANSWERS_DIFFER" == result["reason"], result
    assert "two answers in the output" in result["message"]
    assert "asked again" in result["message"]
    assert "repeatable = false" in result["fix"]


def test_the_fix_helps(folder, steps):
    """Where answers are meant to vary, it goes live."""
    assert folder.build(fitted(steps.Drawing()), repeatable=False)["ok"]


def test_a_model_that_keeps_what_it_has_seen_is_none_that_changes(folder, steps):
    assert folder.build(fitted(steps.Caching()))["ok"]


def test_a_librarys_answers_by_chance_need_a_seed(folder):
    without, seeded = (
        DummyClassifier(strategy="uniform"),
        DummyClassifier(strategy="uniform", random_state=0),
    )

    assert "ANSWERS_DIFFER" == folder.build(without.fit(X, Y))["reason"]
    assert folder.build(seeded.fit(X, Y))["ok"]


def test_a_predict_py_whose_answers_vary_goes_live_and_the_report_says_so(folder):
    script = "n = []\ndef predict(row):\n    n.append(1)\n    return {'calls': len(n)}\n"
    folder.write("predict.py", script)
    folder.write("examples.json", [{"x": 1}, {"x": 2}])

    report = folder.build(format="predict.py", artifact=None)["report"]

    assert "another answer to the same row" in report["engine_reason"]


def test_an_array_for_what_was_fitted_on_a_frame_is_found(folder, monkeypatch):
    """The estimator itself, asked by a frame, answers otherwise than it is served."""

    def by_name(rows):
        return rows[sorted(rows.columns)] if hasattr(rows, "columns") else rows

    frame = D[list("dcba")]
    model = make_pipeline(FunctionTransformer(by_name), LogisticRegression(max_iter=5000))
    model.fit(frame, Y)
    forms = inspecting.matrix_form
    monkeypatch.setattr(inspecting, "is_fitted_on_names", lambda _: False)
    monkeypatch.setattr(inspecting, "handed_frames", lambda _: False)
    monkeypatch.setattr(inspecting, "is_fitted_on_array", lambda _: True)
    predictor = inspecting.inspect_estimator(model, inspecting.Declared(), [])
    assert forms is not None
    assert "matrix" == predictor.signature.layout

    from pushserve_runtime.build_error import BuildFailed
    from pushserve_runtime.job_spec import JobSpec
    from pushserve_sandbox.loading.load import Loaded

    spec = JobSpec.from_json(folder.spec())
    rows = trial_inputs(model, predictor, [])
    with pytest.raises(BuildFailed) as raised:
        check_answers(model, Loaded(predictor, "", "worker", ""), spec, rows)
    assert "ANSWERS_DIFFER" == raised.value.reason
    assert "by a DataFrame" in raised.value.message
    assert "as it is served" in raised.value.message


def test_ordinary_models_pass(folder):
    assert folder.build(make_pipeline(StandardScaler(), LogisticRegression()).fit(D, Y))["ok"]


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (Array(DType.BOOL, np.array([True, False])), "bool"),
        (Array(DType.INT64, np.array([1, 2])), "int64"),
        (Array(DType.STRING, np.array(["a", "b"], object)), str(pd.Series(["a", "b"]).dtype)),
        (Array(DType.BOOL, np.array([True, False]), np.array([False, True])), "object"),
        (Array(DType.STRING, np.array(["a", ""], object), np.array([False, True])), "object"),
    ],
)
def test_a_column_that_may_hold_none_is_of_objects_only_where_it_does(array, kind):
    """`pd.get_dummies` leaves truth values alone, and makes columns of objects."""
    feature = Feature("x", accepts=Accepts.ANYTHING, nullable=True, null_is_none=True)

    assert kind == str(frame_input([feature])([array]).x.dtype)


def test_open_columns_are_tried_with_every_kind_of_value(steps):
    """Truth values, whole numbers, texts, an empty one, dates; each with nulls too."""
    model = steps.Strings().fit(D)
    predictor = inspecting.inspect_estimator(model, Declared(), [])

    groups = trial_inputs(model, predictor, [ROW])

    firsts = [[row[0] for row in group] for group in groups]
    kinds = [{type(value) for value in values if value is not None} for values in firsts]
    assert all(kind in kinds for kind in ({bool}, {int}, {str}, {float}))
    assert any(None in values for values in firsts)
    assert any("" in values for values in firsts)
    assert any(ROW["a"] in values for values in firsts)
    assert any(len(set(map(tuple, group))) < len(group) for group in groups)


def test_an_output_that_some_rows_do_not_have_is_no_difference(folder, steps):
    """What is not given by default is compared where it can be had."""
    model = steps.Half().fit(X, Y)
    folder.write("examples.json", [[0, 2, 3, 4], [0, 2, 3, 4], [0, 2, 3, 4], [5, 2, 3, 4]])

    result = folder.build(model)
    assert result["ok"], result


def test_halves_that_have_other_types_are_no_difference(folder, steps):
    """Truth values beside a null are objects; without it they are not."""
    model = steps.NoBools().fit(pd.DataFrame({"x": [True, None]}))

    result = folder.build(model)
    assert result["ok"], result


def test_an_output_of_a_librarys_that_is_by_chance_ends_no_build(folder):
    """An RBM's score_samples draws, whatever its seed; nobody gets it who does not ask for it."""
    rows = (X > X.mean(axis=0)).astype(float)

    assert folder.build(BernoulliRBM(2, n_iter=2, random_state=0).fit(rows))["ok"]


@pytest.mark.parametrize(
    "rows", [[[None, False], [True, None], [1.5, True]], [[True, 1], [False, 2]]]
)
def test_arrays_whose_type_nobody_can_tell_are_no_difference(folder, steps, rows):
    """Nulls and truth values make an array of objects, or of numbers."""
    folder.write("examples.json", [{"input": row} for row in rows])

    result = folder.build(steps.Nones().fit(np.zeros((2, 2))))

    assert result["ok"], result
