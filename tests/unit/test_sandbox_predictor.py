"""Predictions equal the estimator's own, in each layout."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pushserve_runtime.job_spec import Declared
from pushserve_runtime.output_arrays import NotAnOutput, dense, to_array
from pushserve_runtime.signature import DType, Signature
from pushserve_sandbox.inspection.estimator import inspect_estimator, predictor_for
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, row_values

X, y = load_iris(return_X_y=True)
FRAME = load_iris(as_frame=True).data


def predict(predictor, rows, outputs=None):
    signature = predictor.signature
    values = [row_values(signature.inputs, row) for row in rows]
    arrays = arrays_of(signature.layout, signature.inputs, values)
    return predictor.predict(arrays, outputs or signature.default_outputs)


def inspected(model):
    return inspect_estimator(model, Declared(), [])


def test_matrix():
    model = LogisticRegression(max_iter=500).fit(X, y)

    label, probabilities = predict(inspected(model), X[::20].tolist())

    assert np.array_equal(model.predict(X[::20]), label.values)
    assert np.array_equal(model.predict_proba(X[::20]), probabilities.values)


def test_matrix_for_a_model_with_names():
    """It is asked by matrix, and gives what it gives for a frame."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, y)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        (value,) = predict(inspected(model), X[::20].tolist(), ["decision_function"])

    assert np.array_equal(model.decision_function(FRAME[::20]), value.values)


def test_table_with_texts_and_gaps():
    """Nulls reach the imputers as pandas 3 would have them, whatever the column's type."""
    frame = pd.DataFrame(
        {
            "colour": ["red", None, "blue", "red"] * 5,
            "size": [1.0, 2.0, np.nan, 4.0] * 5,
            "count": [1, 2, 3, 4] * 5,
        }
    )
    assert "str" == frame["colour"].dtype
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["colour"]),
        (SimpleImputer(), ["size", "count"]),
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, ["yes", "no"] * 10)
    rows = [["red", 1.0, 1], [None, None, None], ["blue", 2.5, 4]]

    label, probabilities = predict(inspected(model), rows)

    expected = pd.DataFrame(rows, columns=frame.columns)
    assert model.predict(expected).tolist() == label.values.tolist()
    assert np.array_equal(model.predict_proba(expected), probabilities.values)
    assert DType.STRING is label.dtype


def test_texts():
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(["good fine", "bad poor"], ["up", "down"])

    label, _ = predict(inspected(model), ["so good", ["rather poor"], {"text": "fine"}])

    assert ["up", "down", "up"] == label.values.tolist()


def test_array_of_objects():
    data = np.array([["a", 1], ["b", 2], ["a", 2]], object)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(data, [0, 1, 1])

    _, probabilities = predict(inspected(model), data.tolist())

    assert np.array_equal(model.predict_proba(data), probabilities.values)


def test_stored_signature_makes_the_same_predictor():
    model = LogisticRegression(max_iter=500).fit(X, y)
    built = inspected(model).signature

    again = predictor_for(model, Signature.from_json(built.to_json()))

    assert built == again.signature
    assert y[:3].tolist() == predict(again, X[:3].tolist())[0].values.tolist()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, 2], "int32"), DType.INT64),
        (np.array([1, 2], "uint8"), DType.INT64),
        (np.array([1, 2], "float32"), DType.FLOAT64),
        (np.array([True, False]), DType.BOOL),
        (np.array(["a", "b"]), DType.STRING),
        (np.array(["a", "b"], object), DType.STRING),
        (np.array([1, 2], object), DType.INT64),
        (np.array([1, 2.5], object), DType.FLOAT64),
        (np.array(["a", 1], object), DType.STRING),
    ],
)
def test_types_of_outputs(values, dtype):
    assert dtype is to_array(values).dtype


@pytest.mark.parametrize(
    "result", [np.zeros(3), np.float64(1), [np.zeros(2), np.zeros(2)], np.zeros((2, 20_000))]
)
def test_results_that_are_no_output(result):
    with pytest.raises(NotAnOutput):
        dense(result, 2)


def test_more_dimensions_are_laid_flat():
    assert (2, 6) == dense(np.zeros((2, 3, 2)), 2).shape


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": 1}, "'text' is a string"),
        ({}, "'text' is missing"),
        ({"text": "a", "more": 1}, "'more' is unknown"),
        (["a", "b"], "2 values"),
    ],
)
def test_rows_that_do_not_fit_name_the_feature(row, says):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["aa", "bb"], [0, 1])

    with pytest.raises(RowInvalid, match=says):
        row_values(inspected(model).signature.inputs, row)
