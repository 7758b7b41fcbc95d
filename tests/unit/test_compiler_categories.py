"""Encoders of categories and bins compile, and boosting over categories."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from pushserve_runtime.job_spec import Declared
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, compile_estimator
from pushserve_sandbox.onnx_compiler.proof.threshold_rows import threshold_rows
from pushserve_sandbox.prediction.row_arrays import arrays_of
from tests.fixtures.shares import share

X, three = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
WHOLE = np.column_stack([np.abs(np.round(4 * X[:, 0])) % 7, X[:, 1:4], np.round(np.abs(X[:, 5]))])
HOLES = np.where(np.random.default_rng(0).random(WHOLE.shape) < 0.1, np.nan, WHOLE)
FRAME = pd.DataFrame(
    {
        "size": HOLES[:, 1],
        "colour": np.array(["red", "blue", None], object)[three],
        "shop": np.array(["n", "s", "w"])[(np.abs(X[:, 2]) * 1.5).astype(int) % 3],
    }
)
UNKNOWN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
FEW = {"handle_unknown": "infrequent_if_exist", "min_frequency": 110}


def compiled(model):
    predictor = inspect_estimator(model, Declared(), [])
    return predictor, compile_estimator(model, predictor, [])


def boosting(**options):
    return HistGradientBoostingClassifier(max_iter=10, **options)


ENCODERS = {
    "codes": (OrdinalEncoder(**UNKNOWN), boosting()),
    "missing as a code": (OrdinalEncoder(**UNKNOWN, encoded_missing_value=-2), boosting()),
    "unknown as missing": (
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
        boosting(),
    ),
    "few together": (OrdinalEncoder(**UNKNOWN, min_frequency=110), RandomForestClassifier(5)),
    "target": (TargetEncoder(), Ridge()),
    "targets": (TargetEncoder(), LogisticRegression()),
    "first dropped": (OneHotEncoder(drop="first"), LogisticRegression()),
    "one of two": (OneHotEncoder(drop="if_binary", handle_unknown="ignore"), LogisticRegression()),
    "few in one": (OneHotEncoder(**FEW), LogisticRegression()),
    "most in one": (OneHotEncoder(**FEW, max_categories=2, drop="first"), LogisticRegression()),
}


@pytest.mark.parametrize("name", share(ENCODERS))
def test_encoders_of_texts(name):
    encoder, last = ENCODERS[name]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((numbers, ["size"]), (encoder, ["colour", "shop"]))
    target = X[:, 0] if isinstance(last, Ridge) else three
    _, result = compiled(make_pipeline(columns, last).fit(FRAME, target))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason


NUMBERS = {
    "codes of numbers": (OrdinalEncoder(**UNKNOWN, encoded_missing_value=-3), HOLES),
    "one hot": (OneHotEncoder(handle_unknown="ignore"), HOLES[:, [0, 4]]),
    "targets of numbers": (TargetEncoder(), HOLES),
    "bins": (KBinsDiscretizer(encode="ordinal"), X),
    "bins in ones": (KBinsDiscretizer(n_bins=[3, 4, 5, 2, 6, 7]), X),
    "dense bins": (KBinsDiscretizer(encode="onehot-dense", strategy="uniform"), X),
    "above": (Binarizer(threshold=0.25), X),
}


@pytest.mark.parametrize("name", share(NUMBERS))
@pytest.mark.parametrize("last", [None, RandomForestClassifier(5, random_state=0)])
def test_encoders_of_numbers(name, last):
    encoder, data = NUMBERS[name]
    steps = [encoder] if last is None else [encoder, last]
    _, result = compiled(make_pipeline(*steps).fit(data, three))

    assert isinstance(result, Compiled), result.reason


FIRST = {"categorical_features": [0]}
BOOSTING = {
    "some": (boosting(categorical_features=[0, 4]), WHOLE, three),
    "with holes": (boosting(categorical_features=[4, 0]), HOLES, three),
    "of two": (boosting(**FIRST), HOLES, three > 0),
    "values": (HistGradientBoostingRegressor(max_iter=10, **FIRST), HOLES, X[:, 0]),
    "nothing else": (boosting(categorical_features=[0, 1]), WHOLE[:, [0, 4]], three),
    "texts": (boosting(categorical_features=["colour", "shop"]), FRAME, three),
    "types": (boosting(), FRAME.astype({"colour": "category", "shop": "category"}), three),
}


@pytest.mark.parametrize("name", BOOSTING)
def test_boosting_over_categories(name):
    model, data, target = BOOSTING[name]
    _, result = compiled(model.fit(data, target))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason


def test_a_category_that_was_never_seen():
    model = boosting(categorical_features=["colour", "shop"]).fit(FRAME, three)
    predictor, result = compiled(model)
    rows = [[0.5, "green", "n"], [None, None, None], [1.0, "", "s"]]
    assert isinstance(result, Compiled), result.reason
    arrays = arrays_of(predictor.signature.layout, predictor.signature.inputs, rows)

    want, got = (
        m.predict(arrays, ["probabilities"])[0].values for m in (predictor, result.predictor)
    )
    np.testing.assert_allclose(got, want, rtol=1e-15)


def test_rows_lie_on_the_thresholds_of_boosting_over_categories():
    model = boosting(categorical_features=[0, 4]).fit(WHOLE, three)
    rows = threshold_rows(model, 5, 50, np.random.default_rng(0))
    thresholds = {
        float(node["num_threshold"])
        for stage in model._predictors
        for tree in stage
        for node in tree.nodes
        if not node["is_leaf"] and not node["is_categorical"]
    }

    assert 20 < len(thresholds & set(rows.reshape(-1).tolist()))
