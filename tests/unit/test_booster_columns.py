"""What a booster remembers of its data frame is the signature, and it is given such a frame."""

import json

import numpy as np
import pandas as pd
import pytest

from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_sandbox.inspection.booster_columns import remembered_columns
from pushserve_sandbox.inspection.estimator import inspect_estimator, predictor_for
from pushserve_sandbox.prediction.row_arrays import arrays_of

random = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": random.integers(0, 9, 300).astype(float),
        "shop": pd.Categorical(random.choice(["n", "s", "sw"], 300), categories=["sw", "n", "s"]),
        "floor": pd.Categorical(random.choice([3, 7, 1], 300)),
    }
)
TARGET = (FRAME["age"] > 4) ^ (FRAME["shop"] == "n") ^ (FRAME["floor"] == 7)


def made(package):
    module = pytest.importorskip(package, reason=f"{package} is an optional extra")
    if package == "xgboost":
        return module.XGBClassifier(n_estimators=5, n_jobs=1, enable_categorical=True)
    return module.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)


@pytest.mark.parametrize("package", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("columns", [["age", "shop", "floor"], ["age", "floor"]])
def test_categories(package, columns):
    """Also where all are numbers: a matrix would be taken for codes."""
    frame = FRAME[columns]
    model = made(package).fit(frame, TARGET)
    predictor = inspect_estimator(model, Declared(), [])
    signature = predictor.signature

    found = {item.name: (item.dtype, item.categories) for item in signature.inputs}
    known = {
        "age": (DType.FLOAT64, ()),
        "shop": (DType.STRING, ("sw", "n", "s")),
        "floor": (DType.INT64, (1, 3, 7)),
    }
    assert {name: known[name] for name in columns} == found
    assert all(item.nullable for item in signature.inputs)
    asked = frame.iloc[:60].copy()
    asked.iloc[::4, -1] = np.nan
    rows = [[None if pd.isna(value) else value for value in row] for row in asked.values.tolist()]
    arrays = arrays_of(Layout.TABLE, signature.inputs, rows)
    again = predictor_for(model, Signature.from_json(json.loads(json.dumps(signature.to_json()))))
    want = model.predict_proba(asked)
    assert 1 < len(np.unique(want))
    for one in (predictor, again):
        np.testing.assert_array_equal(one.predict(arrays, ["probabilities"])[0].values, want)


def test_an_array_is_not_remembered():
    for package in ("xgboost", "lightgbm"):
        model = made(package).fit(FRAME[["age"]].to_numpy(), TARGET)

        assert [] == remembered_columns(model)


def test_categories_that_are_lost():
    """XGBoost 3.2 cuts texts that are not ASCII: no names are better than wrong ones."""
    frame = FRAME.assign(shop=FRAME["shop"].cat.rename_categories({"n": "ñ"}))
    model = made("xgboost").fit(frame, TARGET)

    assert ((None, ())) == remembered_columns(model)[1]
