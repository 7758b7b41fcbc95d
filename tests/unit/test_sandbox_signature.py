"""The signature that is found for each kind of estimator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from pushserve_runtime.signature import Accepts, DType, Layout
from pushserve_sandbox.inspection.estimator import predictor_for
from pushserve_sandbox.prediction.row_arrays import arrays_of

X, y = load_iris(return_X_y=True)
FRAME = load_iris(as_frame=True).data


def mixed_frame() -> pd.DataFrame:
    """Two texts, of which one has gaps, a number with gaps, a whole number."""
    return pd.DataFrame(
        {
            "colour": ["red", None, "blue", "red"] * 5,
            "size": [1.0, 2.0, np.nan, 4.0] * 5,
            "grade": [1, 2, 3, 1] * 5,
            "shop": ["a", "b", "a", "b"] * 5,
        }
    )


def mixed_pipeline():
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["colour"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (OrdinalEncoder(), ["grade"]),
        (OneHotEncoder(handle_unknown="ignore"), ["shop"]),
    )
    frame = mixed_frame()
    return make_pipeline(encode, LogisticRegression()).fit(frame, ["yes", "no"] * 10)


def names(items) -> list[str]:
    return [item.name for item in items]


def test_classifier_fitted_on_an_array(folder):
    signature = folder.signature(LogisticRegression(max_iter=500).fit(X, y))

    assert Layout.MATRIX is signature.layout
    assert ["x0", "x1", "x2", "x3"] == names(signature.inputs)
    assert not signature.named
    assert ("label", "probabilities") == signature.default_outputs
    assert DType.INT64 is signature.outputs[0].dtype
    assert (3, ("0", "1", "2")) == (signature.outputs[1].columns, signature.outputs[1].classes)
    assert {"log_probabilities", "decision_function"} <= set(names(signature.outputs))


def test_classifier_fitted_on_a_frame_keeps_names(folder):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    signature = folder.signature(model.fit(FRAME, np.array(["a", "b", "c"])[y]))

    assert Layout.MATRIX is signature.layout
    assert signature.named
    assert list(FRAME.columns) == names(signature.inputs)
    assert DType.STRING is signature.outputs[0].dtype


def test_boolean_labels(folder):
    assert DType.BOOL is folder.signature(LogisticRegression().fit(X, y > 0)).outputs[0].dtype


@pytest.mark.parametrize(
    ("model", "nullable"),
    [
        (LogisticRegression(max_iter=500), False),
        (HistGradientBoostingClassifier(max_iter=3), True),
        (make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)), True),
    ],
)
def test_nullable_is_found_by_trial(folder, model, nullable):
    signature = folder.signature(model.fit(X, y))

    assert [nullable] * 4 == [feature.nullable for feature in signature.inputs]


def test_mixed_table(folder):
    """Types, categories and nulls of each column are found from the encoders and by trial."""
    signature = folder.signature(mixed_pipeline())
    colour, size, grade, shop = signature.inputs

    assert Layout.TABLE is signature.layout
    assert (DType.STRING, True, ("blue", "red")) == (
        colour.dtype,
        colour.nullable,
        colour.categories,
    )
    assert (DType.FLOAT64, True, ()) == (size.dtype, size.nullable, size.categories)
    assert (DType.INT64, False, (1, 2, 3)) == (grade.dtype, grade.nullable, grade.categories)
    assert (DType.STRING, True, ()) == (shop.dtype, shop.nullable, shop.categories)


def test_category_columns_of_boosted_trees(folder):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"] * 30), "n": np.arange(60.0)})
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=3)

    signature = folder.signature(model.fit(frame, [0, 1] * 30))

    assert [DType.STRING, DType.FLOAT64] == [feature.dtype for feature in signature.inputs]
    assert Layout.TABLE is signature.layout


def test_texts(folder):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    signature = folder.signature(model.fit(["good fine", "bad poor"], ["up", "down"]))

    assert Layout.TABLE is signature.layout
    assert [("text", DType.STRING)] == [(f.name, f.dtype) for f in signature.inputs]


def test_text_column_of_a_table(folder):
    frame = pd.DataFrame({"review": ["good fine", "bad poor"], "stars": [5.0, 1.0]})
    columns = make_column_transformer((TfidfVectorizer(), "review"), ("passthrough", ["stars"]))

    signature = folder.signature(make_pipeline(columns, LogisticRegression()).fit(frame, [1, 0]))

    assert [DType.STRING, DType.FLOAT64] == [feature.dtype for feature in signature.inputs]


def test_regressors(folder):
    data, target = load_diabetes(return_X_y=True)
    one = folder.signature(Ridge().fit(data, target))
    two = folder.signature(RandomForestRegressor(2).fit(data, np.c_[target, target]))

    assert (("value",), 0) == (one.default_outputs, one.outputs[0].columns)
    assert ("value", 2) == (two.outputs[0].name, two.outputs[0].columns)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(2),
        MultiOutputClassifier(LogisticRegression(max_iter=500)),
        DecisionTreeClassifier(),
    ],
)
def test_several_labels_have_columns_for_each_class(folder, model):
    """scikit-learn gives a list, one array of probabilities for each label."""
    model.fit(X, np.c_[y > 0, y])
    signature = folder.signature(model, engine="worker")
    [probabilities] = [spec for spec in signature.outputs if spec.name == "probabilities"]

    assert ("label",) == signature.default_outputs
    assert 2 == signature.outputs[0].columns
    assert ("y0=0", "y0=1", "y1=0", "y1=1", "y1=2") == probabilities.classes
    expected = np.hstack(model.predict_proba(X[:5]))
    arrays = arrays_of(signature.layout, signature.inputs, X[:5].tolist())
    [got] = predictor_for(model, signature).predict(arrays, ["probabilities"])
    assert expected.tolist() == got.values.tolist()


@pytest.mark.parametrize(
    ("model", "default", "more"),
    [
        (KMeans(3, n_init=1), ("label",), {"transform"}),
        (IsolationForest(n_estimators=3), ("label",), {"score_samples", "decision_function"}),
        (PCA(2), ("transform",), {"score_samples"}),
        (SVC(), ("label",), {"decision_function"}),
    ],
)
def test_other_estimators(folder, model, default, more):
    signature = folder.signature(model.fit(X, y), engine="worker")

    assert default == signature.default_outputs
    assert {*default, *more} == set(names(signature.outputs))


def test_one_against_one_names_no_classes(folder):
    """Its three columns are pairs of classes."""
    outputs = folder.signature(SVC(decision_function_shape="ovo").fit(X, y)).outputs

    assert (3, ()) == (outputs[1].columns, outputs[1].classes)


def test_texts_in_an_array(folder):
    """An encoder fitted on an object array takes its columns without names."""
    data = np.array([["a", 1], ["b", 2]], object)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(data, [0, 1])

    signature = folder.signature(model)

    assert Layout.TABLE is signature.layout
    assert [DType.STRING, DType.INT64] == [feature.dtype for feature in signature.inputs]


def test_declared_names_name_the_columns(folder):
    declared = {"inputs": [{"name": n} for n in ("a", "b", "c", "d")]}

    signature = folder.signature(LogisticRegression(max_iter=500).fit(X, y), signature=declared)

    assert ["a", "b", "c", "d"] == names(signature.inputs)
    assert signature.named


def test_declared_types_and_outputs_are_kept(folder):
    declared = {
        "inputs": [{"name": "size", "dtype": "float32", "nullable": False}],
        "outputs": ["decision_function"],
    }

    signature = folder.signature(mixed_pipeline(), signature=declared)

    assert (DType.FLOAT32, False) == (signature.inputs[1].dtype, signature.inputs[1].nullable)
    assert ("decision_function",) == signature.default_outputs


@pytest.mark.parametrize(
    ("declared", "reason", "names_field"),
    [
        ({"inputs": [{"name": "weight"}]}, "SIGNATURE_MISMATCH", "weight"),
        ({"inputs": [{"name": "colour", "dtype": "int64"}]}, "SIGNATURE_MISMATCH", "colour"),
        ({"inputs": [{"name": "grade", "nullable": True}]}, "SIGNATURE_MISMATCH", "grade"),
        ({"outputs": ["apply"]}, "SIGNATURE_MISMATCH", "apply"),
        ({"inputs": [{"name": "a", "dtype": "text"}]}, "SIGNATURE_INVALID", "text"),
        ({"inputs": [{"name": "a"}, {"name": "a"}]}, "SIGNATURE_INVALID", "a"),
    ],
)
def test_contradictions_name_the_field(folder, declared, reason, names_field):
    result = folder.build(mixed_pipeline(), signature=declared)

    assert reason == result["reason"]
    assert repr(names_field) in result["message"]


def upper(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.str.len())


def test_examples_tell_types_that_no_encoder_knows(folder):
    """Without them any type is taken."""
    frame = pd.DataFrame({"word": ["a", "bbb", "cc"]})
    steps = make_pipeline(FunctionTransformer(upper, validate=False), Ridge())
    model = steps.fit(frame, [1.0, 3.0, 2.0])
    without = folder.signature(model)
    folder.write("examples.json", [{"input": {"word": "four"}}])

    signature = folder.signature(model)

    assert Accepts.ANYTHING is without.inputs[0].accepts
    assert (DType.STRING, Accepts.DTYPE) == (signature.inputs[0].dtype, signature.inputs[0].accepts)


def of_codes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.map({"A-17": 1.0, "B-2": 2.0}))


def test_a_model_that_no_made_up_row_fits_asks_for_an_example(folder):
    """The fix says so, and helps."""
    steps = make_pipeline(FunctionTransformer(of_codes), Ridge())
    model = steps.fit(pd.DataFrame({"code": ["A-17", "B-2"]}), [1.0, 3.0])
    without = folder.build(model)
    folder.write("examples.json", [{"input": {"code": "B-2"}}])

    assert "TRIAL_FAILED" == without["reason"]
    assert "examples.json" in without["fix"]
    assert folder.build(model)["ok"]


def test_model_that_does_not_say_its_width(folder):
    folder.write("narrow.py", "class Model:\n    def predict(self, X):\n        return X[:, 0]\n")
    folder.write("model.pkl", b"cnarrow\nModel\n)\x81.")

    result = folder.build(format="pickle", artifact="model.pkl")

    assert "SIGNATURE_UNKNOWN" == result["reason"]
