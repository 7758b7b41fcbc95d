"""Introspection to any depth: what meta-estimators hold is found by what fitting left in them.

Expected answers are the estimator's own, for the frame that its author would give it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomTreesEmbedding,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from pushserve_runtime.signature import Accepts, DType, InputForm, Layout
from tests.fixtures.doors import Doors
from tests.fixtures.shares import share

rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "town": ["Ulm", "Bonn", "Kiel", "Ulm"] * 15,
        "size": rng.normal(10, 3, 60).round(3),
        "kind": [1, 2, 3, 2, 1] * 12,
    }
)
LABELS = np.where((FRAME.town == "Ulm") ^ (FRAME["size"] > 10), "yes", "no")


def encoded(last=None):
    """Texts, whole numbers and numbers, each by an encoder of its own."""
    columns = make_column_transformer(
        (OneHotEncoder(), ["town"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["kind"]),
        (StandardScaler(), ["size"]),
    )
    return make_pipeline(columns, last if last is not None else LogisticRegression())


class Own(ClassifierMixin, BaseEstimator):
    """A meta-estimator of one's own, which remembers nothing of its input."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, data, target):
        self.fitted_ = clone(self.inner).fit(data, target)
        self.classes_ = self.fitted_.classes_
        return self

    def predict(self, data):
        return self.fitted_.predict(data)


class OwnList(Own):
    """It holds them in a dictionary of pairs, and says what it was fitted on."""

    def fit(self, data, target):
        models = {name: (name, clone(self.inner).fit(data, target)) for name in "ab"}
        self.models_ = models
        self.classes_ = models["a"][1].classes_
        self.feature_names_in_ = np.array(list(data.columns), object)
        return self

    def predict(self, data):
        return self.models_["b"][1].predict(data)


class Sampler(BaseEstimator):
    """Changes what is fitted on, and has no part in predicting, as imbalanced-learn's do."""

    def fit_resample(self, data, target):
        return data, target


class Resampled(ClassifierMixin, BaseEstimator):
    """A pipeline that passes over steps which only resample, as imbalanced-learn's does."""

    def __init__(self, steps=()):
        self.steps = steps

    @property
    def classes_(self):
        return self.steps[-1][1].classes_

    def predict(self, data):
        for _, step in self.steps[:-1]:
            data = step.transform(data) if hasattr(step, "transform") else data
        return self.steps[-1][1].predict(data)


CLASSIFIERS = {
    "calibrated": lambda: CalibratedClassifierCV(encoded(), cv=2),
    "vote": lambda: VotingClassifier([("a", encoded()), ("b", encoded())], voting="soft"),
    "stack": lambda: StackingClassifier([("a", encoded()), ("b", encoded())], cv=2),
    "grid": lambda: GridSearchCV(encoded(), {"logisticregression__C": [1, 2]}, cv=2),
    "grid of calibrated": lambda: GridSearchCV(
        CalibratedClassifierCV(encoded(), cv=2), {"cv": [2]}, cv=2
    ),
    "threshold": lambda: TunedThresholdClassifierCV(encoded(), cv=2, scoring="accuracy"),
    "one of rest": lambda: OneVsRestClassifier(encoded()),
    "vote of stacks": lambda: VotingClassifier(
        [("s", StackingClassifier([("a", encoded())], cv=2)), ("b", encoded())]
    ),
    "calibrated, frozen": lambda: CalibratedClassifierCV(
        FrozenEstimator(encoded().fit(FRAME, LABELS))
    ),
    "pipeline of vote": lambda: make_pipeline(
        FunctionTransformer(), VotingClassifier([("a", encoded())])
    ),
    "own": lambda: OwnList(encoded()),
    "own of vote": lambda: OwnList(VotingClassifier([("a", encoded())])),
}


@pytest.mark.parametrize("name", share(CLASSIFIERS))
def test_classifiers_of_pipelines(folder, name):
    model = CLASSIFIERS[name]().fit(FRAME, LABELS)

    doors = Doors(model, folder.signature(model, engine="worker"))

    expected = model.predict(FRAME).tolist()
    assert expected == doors.table(FRAME)["label"].tolist()
    assert expected == doors.rows(FRAME)["label"].tolist()
    town, size, kind = doors.signature.inputs
    assert (DType.STRING, DType.INT64) == (town.dtype, kind.dtype)
    if not name.startswith("own"):
        assert ("Bonn", "Kiel", "Ulm") == town.categories
        assert (DType.FLOAT64, Accepts.DTYPE) == (size.dtype, size.accepts)


def test_targets_are_no_columns(folder):
    """The scaler of the target has one column, as the model has."""
    regressor = make_pipeline(OneHotEncoder(), Ridge())
    model = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    model.fit(FRAME[["town"]], FRAME["size"])

    doors = Doors(model, folder.signature(model, engine="worker"))

    expected = model.predict(FRAME[["town"]])
    assert np.allclose(expected, doors.rows(FRAME[["town"]])["value"], rtol=1e-12)
    assert ("Bonn", "Kiel", "Ulm") == doors.signature.inputs[0].categories


@pytest.mark.parametrize("wrap", share([MultiOutputClassifier, ClassifierChain], 2))
def test_several_targets(folder, wrap):
    targets = np.c_[LABELS == "yes", FRAME.kind == 2].astype(int)
    model = wrap(encoded()).fit(FRAME, targets) if wrap is MultiOutputClassifier else None
    if model is None:
        model = make_pipeline(encoded("passthrough"), ClassifierChain(LogisticRegression()))
        model.fit(FRAME, targets)

    doors = Doors(model, folder.signature(model, engine="worker"))

    assert model.predict(FRAME).tolist() == doors.rows(FRAME)["label"].tolist()


def test_unions(folder):
    def part(encoder, name):
        return make_column_transformer((encoder, [name]))

    union = FeatureUnion(
        [("a", part(OneHotEncoder(), "town")), ("b", part(StandardScaler(), "size"))]
    )
    model = make_pipeline(union, LogisticRegression()).fit(FRAME, LABELS)

    doors = Doors(model, folder.signature(model, engine="worker"))

    assert model.predict(FRAME).tolist() == doors.rows(FRAME[["town", "size"]])["label"].tolist()
    assert Accepts.UNUSED is doors.signature.inputs[2].accepts


@pytest.mark.long
def test_pipelines_of_others_with_steps_that_only_fit(folder):
    fitted = encoded().fit(FRAME, LABELS)
    model = Resampled([("sampler", Sampler()), *fitted.steps])

    doors = Doors(model, folder.signature(model, engine="worker"))

    assert fitted.predict(FRAME).tolist() == doors.rows(FRAME)["label"].tolist()


def test_bagging_of_encoders(folder):
    """Each member has drawn columns of its own."""
    data = np.array([["a", "x"], ["b", "y"], ["a", "y"], ["b", "x"]] * 10, object)
    target = [0, 1, 0, 1] * 10
    member = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model = BaggingClassifier(member, 5, max_features=1, random_state=0).fit(data, target)

    doors = Doors(model, folder.signature(model, engine="worker"))

    frame = pd.DataFrame(data, columns=["x0", "x1"])
    assert model.predict(data).tolist() == doors.rows(frame)["label"].tolist()


@pytest.mark.long
def test_an_encoder_of_leaves_is_none_of_columns(folder):
    """Ten trees, ten columns: its encoder's categories are numbers of leaves."""
    data = rng.normal(size=(50, 10))
    model = make_pipeline(RandomTreesEmbedding(10, random_state=0), LogisticRegression())

    signature = folder.signature(model.fit(data, data[:, 0] > 0), engine="worker")

    assert {(DType.FLOAT64, ())} == {(f.dtype, f.categories) for f in signature.inputs}


def test_boosting_over_categories_in_a_vote(folder):
    frame = FRAME.assign(town=FRAME.town.astype("category"))
    trees = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=3)
    model = VotingClassifier([("a", trees)]).fit(frame, LABELS)

    signature = folder.signature(model, engine="worker")

    assert [DType.STRING, DType.FLOAT64, DType.FLOAT64] == [f.dtype for f in signature.inputs]
    assert {Accepts.DTYPE} == {feature.accepts for feature in signature.inputs}


class Ratio(TransformerMixin, BaseEstimator):
    """Takes a frame and remembers nothing."""

    def fit(self, _data, _target=None):
        return self

    def transform(self, data):
        return data.assign(r=data.fare / data.age)


class Rule:
    """No estimator of scikit-learn's at all."""

    def predict(self, frame):
        return np.where(frame["age"] > 40, "old", "young")


PEOPLE = pd.DataFrame({"age": rng.integers(1, 80, 60), "fare": rng.normal(30, 9, 60).round(4)})


class TestOwnCodeFirst:
    """Steps of people's own that take a data frame."""

    def model(self):
        steps = make_pipeline(Ratio(), StandardScaler(), LogisticRegression())
        return steps.fit(PEOPLE, PEOPLE.fare > PEOPLE.age)

    @pytest.mark.parametrize("told", share(["nobody", "example", "manifest"]))
    def test_a_transformer(self, folder, told):
        model, spec = self.model(), {}
        if told == "example":
            folder.write("examples.json", [{"input": {"age": 30, "fare": 7.25}}])
        elif told == "manifest":
            spec = {"signature": {"inputs": [{"name": "age"}, {"name": "fare"}]}}

        doors = Doors(model, folder.signature(model, engine="worker", **spec))

        assert ["age", "fare"] == [feature.name for feature in doors.signature.inputs]
        assert InputForm.FRAME is doors.signature.form
        expected = model.predict(PEOPLE).tolist()
        assert expected == doors.rows(PEOPLE)["label"].tolist()
        assert expected == doors.table(PEOPLE)["label"].tolist()

    def test_a_rule(self, folder):
        folder.write("examples.json", [{"input": {"age": 30}, "output": "young"}])

        doors = Doors(Rule(), folder.signature(Rule()))

        expected = Rule().predict(PEOPLE).tolist()
        assert expected == doors.rows(PEOPLE[["age"]])[doors.signature.outputs[0].name].tolist()

    def test_a_rule_that_nobody_describes_asks_for_an_example(self, folder):
        result = folder.build(Rule())

        assert "SIGNATURE_UNKNOWN" == result["reason"]
        assert "examples.json" in result["fix"]

    def test_an_own_classifier_that_remembers_nothing(self, folder):
        """What is fitted in it knows the names."""
        model = Own(encoded()).fit(FRAME, LABELS)

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert model.predict(FRAME).tolist() == doors.rows(FRAME)["label"].tolist()

    @pytest.mark.parametrize(
        ("own", "before"),
        [
            (Own, []),
            (lambda model: model, [Ratio()]),
            (Own, [Ratio()]),
        ],
    )
    def test_columns_that_nothing_in_it_uses_may_come_again(self, folder, own, before):
        """They are no making of its own: whoever has the frame sends them, or leaves them out."""
        frame = PEOPLE.assign(note=["text", None] * 30, seen=[1, "b"] * 30)
        used = ["age", "fare", *(["r"] if before else [])]
        columns = make_column_transformer((StandardScaler(), used))
        model = own(make_pipeline(*before, columns, LogisticRegression()))
        model.fit(frame, np.where(PEOPLE.fare > PEOPLE.age, "more", "less"))

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert {"age": False, "fare": False, "note": True, "seen": True} == {
            f.name: f.accepts is Accepts.UNUSED for f in doors.signature.inputs
        }
        expected = model.predict(frame).tolist()
        assert expected == doors.rows(frame)["label"].tolist()
        assert expected == doors.table(frame[["note", "fare", "age"]])["label"].tolist()


def lower(texts):
    return texts.str.lower()


def lower_each(texts):
    return [text.lower() for text in texts]


TEXTS = pd.Series(["Good fine", "BAD poor", "fine", "poor Bad"] * 5)


class TestTextsAndDicts:
    @pytest.mark.parametrize(
        "steps",
        [
            (FunctionTransformer(lower), TfidfVectorizer(lowercase=False)),
            (FunctionTransformer(lower_each), CountVectorizer(lowercase=False)),
            (FeatureUnion([("a", TfidfVectorizer()), ("b", CountVectorizer())]),),
        ],
    )
    def test_before_a_vectorizer(self, folder, steps):
        model = make_pipeline(*steps, LogisticRegression()).fit(TEXTS, [1, 0, 1, 0] * 5)

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert [("text", DType.STRING)] == [(f.name, f.dtype) for f in doors.signature.inputs]
        frame = TEXTS.to_frame("text")
        assert model.predict(TEXTS).tolist() == doors.rows(frame)["label"].tolist()
        assert model.predict(TEXTS).tolist() == doors.table(frame)["label"].tolist()

    @pytest.mark.parametrize(
        "wrap", [lambda m: CalibratedClassifierCV(m, cv=2), lambda m: VotingClassifier([("a", m)])]
    )
    def test_vectorizers_inside_of_others(self, folder, wrap):
        model = wrap(make_pipeline(TfidfVectorizer(), LogisticRegression()))
        model.fit(TEXTS, [1, 0, 1, 0] * 5)

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert model.predict(TEXTS).tolist() == doors.rows(TEXTS.to_frame("text"))["label"].tolist()

    def test_dicts(self, folder):
        """A row may leave out what it does not have, as it may in the notebook."""
        rows = [{"town": "Ulm", "age": 3}, {"town": "Bonn", "age": 5.5}, {"age": 1}] * 10
        model = make_pipeline(DictVectorizer(), LogisticRegression()).fit(rows, [0, 1, 1] * 10)

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert Layout.TABLE is doors.signature.layout
        types = {f.name: (f.dtype, f.nullable) for f in doors.signature.inputs}
        assert {"town": (DType.STRING, True), "age": (DType.FLOAT64, True)} == types
        assert model.predict(rows).tolist() == doors.rows(pd.DataFrame(rows))["label"].tolist()
        assert model.predict(rows).tolist() == doors.table(pd.DataFrame(rows))["label"].tolist()
