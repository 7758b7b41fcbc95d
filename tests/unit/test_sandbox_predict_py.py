"""`predict.py` in its forms, the old platform's among them."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from pushserve_runtime.signature import DType, Layout
from pushserve_sandbox.prediction.json_values import NotJson, json_object

X, y = load_iris(return_X_y=True)
SCRIPT = {"format": "predict.py", "artifact": None}


def test_once_for_each_row(folder):
    folder.write("predict.py", "def predict(input):\n    return {'sum': input['a'] + 1}\n")
    folder.write("examples.json", [{"input": {"a": 1}, "output": {"sum": 2}}])

    signature = folder.signature(**SCRIPT)

    assert (Layout.RECORDS, ()) == (signature.layout, signature.inputs)
    assert [("output", DType.JSON)] == [(o.name, o.dtype) for o in signature.outputs]


def test_batches(folder):
    folder.write(
        "predict.py", "def predict_batch(rows):\n    return [{'n': len(rows)}] * len(rows)"
    )
    folder.write("examples.json", [{"input": {}, "output": {"n": 1}}])

    assert folder.build(**SCRIPT)["ok"]


@pytest.mark.parametrize("where", ["'model.pkl'", "Path(__file__).parent / 'model.pkl'"])
def test_old_platform(folder, where):
    """It loads model.pkl itself, from the working directory or beside the file."""
    joblib.dump(LogisticRegression(max_iter=500).fit(X, y), folder.path / "model.pkl")
    folder.write(
        "predict.py",
        "import pickle, joblib\n"
        "from pathlib import Path\n"
        f"model = joblib.load({where})\n"
        "def predict(input):\n"
        "    row = [[input['a'], input['b'], input['c'], input['d']]]\n"
        "    return {'prediction': model.predict(row)[0], 'p': model.predict_proba(row)[0]}\n",
    )
    folder.write("test_data.json", {"a": 5.1, "b": 3.5, "c": 1.4, "d": 0.2})

    result = folder.build(format="predict.py", artifact="model.pkl", examples="test_data.json")

    assert result["ok"], result
    assert 1 == result["report"]["examples_checked"]


def test_model_is_handed_over(folder):
    """With two parameters, the artifact is loaded for it."""
    folder.write(
        "predict.py", "def predict(model, input):\n    return {'k': len(model.classes_)}\n"
    )
    folder.write("examples.json", [{"input": {}, "output": {"k": 3}}])

    model = LogisticRegression(max_iter=500).fit(X, y)

    assert folder.build(model, format="predict.py")["ok"]


def test_modules_and_files_beside_it(folder):
    folder.write("beside_script.py", "import json\nTABLE = json.load(open('table.json'))\n")
    folder.write("table.json", {"a": 7})
    folder.write("predict.py", "import beside_script\ndef predict(input):\n"
                 "    return {'v': beside_script.TABLE[input['k']]}\n")  # fmt: skip
    folder.write("examples.json", [{"input": {"k": "a"}, "output": {"v": 7}}])

    assert folder.build(**SCRIPT)["ok"]


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        ("x = 1", "PREDICT_MISSING", "neither predict nor predict_batch"),
        ("def predict(", "PREDICT_FAILED", "SyntaxError"),
        ("1 / 0", "PREDICT_FAILED", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "PREDICT_FAILED", "SystemExit"),
        ("import no_such_package", "MISSING_PACKAGE", "no_such_package"),
        ("def predict(model, input): pass", "PREDICT_MISSING", "no artifact"),
    ],
)
def test_scripts_that_cannot_be_served(folder, code, reason, says):
    folder.write("predict.py", code)

    result = folder.build(**SCRIPT)

    assert reason == result["reason"]
    assert says in result["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return input['absent']", "KeyError"),
        ("return object()", "builtins.object is not a JSON value"),
        ("import sys; sys.exit()", "SystemExit"),
    ],
)
def test_examples_find_scripts_that_fail(folder, body, says):
    folder.write("predict.py", f"def predict(input):\n    {body}\n")
    folder.write("examples.json", {"a": 1})

    result = folder.build(**SCRIPT)

    assert "EXAMPLES_FAILED" == result["reason"]
    assert says in result["message"]


def test_wrong_number_of_results(folder):
    folder.write("predict.py", "def predict_batch(rows):\n    return []\n")
    folder.write("examples.json", {"a": 1})

    assert "must give a list of 1" in folder.build(**SCRIPT)["message"]


def test_declared_inputs(folder):
    folder.write("predict.py", "def predict(input):\n    return {}\n")
    declared = {"inputs": [{"name": "a", "dtype": "float64", "nullable": False}, {"name": "b"}]}

    signature = folder.signature(**SCRIPT, signature=declared)

    assert [(DType.FLOAT64, False), (DType.JSON, True)] == [
        (feature.dtype, feature.nullable) for feature in signature.inputs
    ]


def test_what_numpy_and_pandas_give_becomes_json():
    import pandas as pd

    given = {
        "int": np.int32(1),
        "float": np.float32(0.5),
        "flag": np.bool_(True),
        "text": np.str_("a"),
        "array": np.arange(4).reshape(2, 2),
        "objects": np.array(["a", None], object),
        "tuple": (1, np.nan),
        "series": pd.Series([1.5, 2.5]),
        np.int64(3): None,
    }
    assert {
        "int": 1,
        "float": 0.5,
        "flag": True,
        "text": "a",
        "array": [[0, 1], [2, 3]],
        "objects": ["a", None],
        "tuple": [1, None],
        "series": [1.5, 2.5],
        "3": None,
    } == json_object(given, 10**6)


def test_endless_nesting_is_no_json():
    value: list = []
    value.append(value)

    with pytest.raises(NotJson, match="nested"):
        json_object({"x": value}, 10**6)
