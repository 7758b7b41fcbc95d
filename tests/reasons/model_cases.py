"""Cases of pushes whose model is loaded, inspected and tried, and fails."""

from __future__ import annotations

import json
import pickle
from unittest import mock

import pandas as pd
import sklearn
import sklearn.base
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from tests.reasons.file_cases import manifest, model
from tests.reasons.graph_files import (
    doubling_graph,
    external_graph,
    fixed_graph,
    open_graph,
)
from tests.reasons.push_case import DATA, MANIFEST, PushCase, dumped, good_model, pickled_of


def of_another_release() -> bytes:
    """A pickle whose state says that 1.3.2 saved it."""
    with mock.patch.object(sklearn.base, "__version__", "1.3.2"):
        return pickle.dumps(LinearRegression().fit(DATA, DATA[:, 0]))


OWN_CLASS = """
from sklearn.base import BaseEstimator, RegressorMixin
class Twice(RegressorMixin, BaseEstimator):
    n_features_in_ = 1
    def fit(self, X, y=None): return self
    def predict(self, X): return X[:, 0] * 2
    def __sklearn_is_fitted__(self): return True
"""
RULE = OWN_CLASS.replace("    n_features_in_ = 1\n", "").replace("X[:, 0]", "X['age']")
NAMES = '[signature]\ninputs = [{name = "a"}, {name = "b"}]'
SCRIPT = "def predict(input: dict) -> dict:\n    return {'twice': input['x'] * 2}\n"


def towns() -> bytes:
    """An encoder of texts."""
    return dumped(OneHotEncoder().fit(pd.DataFrame({"town": ["Ulm", "Bonn"]})))


def script(code: str, example: object = None, **more: str) -> dict[str, str]:
    return {
        "predict.py": code,
        "examples.json": json.dumps([{"input": example or {"x": 1}}]),
    } | more


CASES = {
    "an empty file": PushCase(
        "ARTIFACT_UNREADABLE",
        {"model.joblib": b""},
        "model.joblib is empty",
        "Save the model again and commit it",
        {"model.joblib": good_model()},
    ),
    "a file that is no pickle": PushCase(
        "ARTIFACT_UNREADABLE",
        {"model.pkl": b"\x80\x04garbage"},
        "model.pkl cannot be loaded",
        "Save the model again (joblib.dump, pickle.dump, skops.io.dump) and commit that file",
        {"model.pkl": good_model()},
    ),
    "a class of the notebook": PushCase(
        "ARTIFACT_UNREADABLE",
        {"model.pkl": pickled_of("__main__", OWN_CLASS, "Twice()")},
        "it holds Twice, which the notebook or script that saved it defined itself",
        "Move Twice into a file of its own, say features.py, import it from there where you "
        "train, commit that file beside the model, and save the model again",
        {
            "model.pkl": pickled_of("features", OWN_CLASS, "Twice()"),
            "features.py": OWN_CLASS,
        },
    ),
    "a class that has been renamed": PushCase(
        "ARTIFACT_UNREADABLE",
        {
            "model.pkl": pickled_of("features", OWN_CLASS, "Twice()"),
            "features.py": OWN_CLASS.replace("Twice", "Double"),
        },
        "it needs Twice of the module features",
        "Commit features as it was when the model was saved",
        {"features.py": OWN_CLASS},
    ),
    "a graph that is none": PushCase(
        "ARTIFACT_UNREADABLE",
        {"model.onnx": good_model()},
        "model.onnx is not a valid ONNX model",
        "Export the model again, and check it with onnx.checker.check_model",
        {"model.onnx": doubling_graph()},
    ),
    "a module that is left out": PushCase(
        "MISSING_PACKAGE",
        {"model.pkl": pickled_of("twicing", OWN_CLASS, "Twice()")},
        "it imports twicing, which is neither installed on this server nor in the folder",
        "Commit the module twicing beside the model, if it is your own",
        {"twicing.py": OWN_CLASS},
    ),
    "a package that a script imports": PushCase(
        "MISSING_PACKAGE",
        script(f"import pushserve_no_such\n{SCRIPT}"),
        "pushserve_no_such",
        "be made without it",
        {"predict.py": SCRIPT},
    ),
    "another scikit-learn": PushCase(
        "SKLEARN_VERSION_MISMATCH",
        {"model.pkl": of_another_release()},
        "saved with scikit-learn 1.3.2",
        f"Train and save the model with scikit-learn {sklearn.__version__}",
        {"model.pkl": good_model()},
    ),
    "a dict of models": PushCase(
        "NOT_A_MODEL",
        {"model.joblib": dumped({"model": LinearRegression().fit(DATA, DATA[:, 0])})},
        "builtins.dict",
        "add a predict.py that uses it",
        script(
            "def predict(model, input):\n"
            "    return {'y': model['model'].predict([input['x']])[0]}\n",
            {"x": [1, 2]},
        ),
    ),
    "a class that was not called": PushCase(
        "NOT_A_MODEL",
        {"model.joblib": dumped(LinearRegression)},
        "neither predict nor transform",
        "Save the fitted estimator or pipeline itself",
        {"model.joblib": good_model()},
    ),
    "before fit": PushCase(
        "MODEL_NOT_FITTED",
        {"model.joblib": dumped(LinearRegression())},
        "LinearRegression is not fitted",
        "Call fit before saving it",
        {"model.joblib": good_model()},
    ),
    "tensors in another file": PushCase(
        "ONNX_EXTERNAL_DATA",
        {"model.onnx": external_graph(), "weights.bin": b"\0" * 8},
        "keeps tensors in other files: w",
        "Save it as one file",
        {"model.onnx": doubling_graph(), "weights.bin": None},
    ),
    "a fixed number of rows": PushCase(
        "ONNX_SHAPE",
        {"model.onnx": fixed_graph()},
        "of shape [1, 2]",
        "Export it with inputs of shape [None, columns]",
        {"model.onnx": doubling_graph()},
    ),
    "a script without predict": PushCase(
        "PREDICT_MISSING",
        script("def answer(input): return {}\n"),
        "neither predict nor predict_batch",
        "Define predict(input: dict) -> dict",
        {"predict.py": SCRIPT},
    ),
    "a script without its model": PushCase(
        "PREDICT_MISSING",
        script("def predict(model, input): return {'y': model.predict([input['x']])[0]}\n",
               {"x": [1, 2]}),
        "the folder has no artifact",
        "Commit model.joblib (or another artifact)",
        {"model.joblib": good_model()},
    ),
    "a script that raises": PushCase(
        "PREDICT_FAILED",
        script(f"import json\nTABLE = json.loads('[1,')\n{SCRIPT}"),
        "(predict.py, line 2)",
        "Correct the code",
        {"predict.py": f"import json\nTABLE = json.loads('[1]')\n{SCRIPT}"},
    ),
    "a script of a web server": PushCase(
        "PREDICT_SIGNATURE",
        script("def predict(): return {}\n"),
        "takes no argument",
        "Define predict(input: dict) -> dict",
        {"predict.py": SCRIPT},
    ),
    "a script with the model second": PushCase(
        "PREDICT_SIGNATURE",
        model(**script("def predict(X, model): return {'y': model.predict([X['x']])[0]}\n",
                       {"x": [1, 2]})),
        "takes the model second",
        "predict(model, input: dict) -> dict",
        {"predict.py": "def predict(model, X): return {'y': model.predict([X['x']])[0]}\n"},
    ),
    "columns that nobody names": PushCase(
        "SIGNATURE_UNKNOWN",
        {"model.pkl": pickled_of("rules", RULE, "Twice()"), "rules.py": RULE},
        "which columns it takes",
        'Commit examples.json with a row: [{"input": {"column": value, …}}]',
        {"examples.json": '[{"input": {"age": 31}}]'},
    ),
    "columns that are declared": PushCase(
        "SIGNATURE_UNKNOWN",
        {"model.pkl": pickled_of("rules", RULE, "Twice()"), "rules.py": RULE},
        "which columns it takes",
        "declare the columns in pushserve.toml: [signature] inputs = [{name = …}, …]",
        manifest('[signature]\ninputs = [{name = "age"}]'),
    ),
    "a graph of any width": PushCase(
        "SIGNATURE_UNKNOWN",
        {"model.onnx": open_graph()},
        "how many columns",
        "Declare them in pushserve.toml: [signature] inputs = [{name = …}, …]",
        manifest(NAMES),
    ),
    "an input twice": PushCase(
        "SIGNATURE_INVALID",
        model(**{MANIFEST: NAMES.replace('"b"', '"a"')}),
        "names the input 'a' twice",
        "Name each input once",
        manifest(NAMES),
    ),
    "a column without a name": PushCase(
        "SIGNATURE_INVALID",
        {"model.joblib": dumped(LinearRegression().fit(
            pd.DataFrame({"": [0.0, 1.0], "b": [1.0, 3.0]}), [0, 1]))},
        "a name of 0 characters",
        "Rename the column, and fit the model again",
        {"model.joblib": dumped(LinearRegression().fit(
            pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 3.0]}), [0, 1]))},
    ),
    "a declared text": PushCase(
        "SIGNATURE_MISMATCH",
        {"model.joblib": towns(),
         MANIFEST: '[signature]\ninputs = [{name = "town", dtype = "float64"}]'},
        "fitted on string values",
        "Declare 'town' as string",
        manifest('[signature]\ninputs = [{name = "town", dtype = "string"}]'),
    ),
    "a declared null": PushCase(
        "SIGNATURE_MISMATCH",
        model(**{MANIFEST: '[signature]\ninputs = [{name = "a", nullable = true}, {name = "b"}]'}),
        "raises on a null",
        "Remove nullable from 'a'",
        manifest(NAMES),
    ),
    "an input that is none": PushCase(
        "SIGNATURE_MISMATCH",
        {"model.joblib": towns(), MANIFEST: '[signature]\ninputs = [{name = "city"}]'},
        "the input 'city', which the model does not have",
        "Declare the model's own features",
        manifest('[signature]\ninputs = [{name = "town"}]'),
    ),
    "an output that is none": PushCase(
        "SIGNATURE_MISMATCH",
        model(**{MANIFEST: '[signature]\noutputs = [{name = "label"}]'}),
        "the output 'label'",
        "Declare outputs of: value",
        manifest('[signature]\noutputs = [{name = "value"}]'),
    ),
}  # fmt: skip
"""By what is wrong; each has a repository of that name."""
