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

from tests.fixtures.deploying import calling
from tests.reasons.file_cases import EXAMPLE, manifest, model
from tests.reasons.graph_files import (
    diagonal_graph,
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
PICKY = OWN_CLASS.replace(
    "X[:, 0] * 2", "self.only(X)\n    def only(self, X):\n"
    "        assert (X[:, 0] == 4711).all(), 'codes alone'\n        return X[:, 0] * 1.0"
)  # fmt: skip
COUNTING = OWN_CLASS.replace(
    "return X[:, 0] * 2",
    "self.n = getattr(self, 'n', 0) + 1; return X[:, 0] * 2 + self.n",
)
SAME = PICKY.replace("X[:, 0] * 1.0", "X[:, 0]")
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
    "rows that nobody could guess": PushCase(
        "TRIAL_FAILED",
        {"model.pkl": pickled_of("picky", PICKY, "Twice()"), "picky.py": PICKY},
        "codes alone",
        "Commit examples.json with a row that the model takes",
        {"examples.json": '[{"input": [4711]}]'},
    ),
    "a script that raises on made rows": PushCase(
        "TRIAL_FAILED",
        {"predict.py": "def predict(input): return {'y': {'a': 1}[input['x']]}\n",
         MANIFEST: '[signature]\ninputs = [{name = "x"}]'},
        "KeyError",
        "Commit examples.json with a row that it takes",
        {"examples.json": '[{"input": {"x": "a"}}]'},
    ),
    "a row that is too short": PushCase(
        "EXAMPLES_INVALID",
        model(**{"examples.json": '[{"input": [1.0]}]'}),
        "example 1",
        "Give each row the model's 2 features: x0, x1",
        {"examples.json": EXAMPLE},
    ),
    "no JSON": PushCase(
        "EXAMPLES_INVALID",
        model(**{"examples.json": "[[1.0, 2.0],]"}),
        "examples.json",
        '[{"input"',
        {"examples.json": EXAMPLE},
    ),
    "an output that is not given": PushCase(
        "EXAMPLES_INVALID",
        model(**{"examples.json": '[{"input": [1.0, 2.0], "output": {"label": 5.0}}]'}),
        "the output 'label', which the model does not give",
        "outputs of: value",
        {"examples.json": EXAMPLE},
    ),
    "an expected value that is wrong": PushCase(
        "EXAMPLES_FAILED",
        model(**{"examples.json": EXAMPLE.replace("5.0", "7.0")}),
        "example 1",
        "Correct the model, or the example",
        {"examples.json": EXAMPLE},
    ),
    "an example that raises": PushCase(
        "EXAMPLES_FAILED",
        script(SCRIPT, {"y": 1}),
        "KeyError: 'x' (predict.py, line 2, in predict)",
        "Correct the code",
        {"predict.py": SCRIPT.replace("input['x']", "input['y']")},
    ),
    "a model that counts": PushCase(
        "ANSWERS_DIFFER",
        {"model.pkl": pickled_of("counting", COUNTING, "Twice()"), "counting.py": COUNTING},
        "has two answers in the output value",
        "say repeatable = false in pushserve.toml",
        manifest("repeatable = false"),
    ),
    "a download": PushCase(
        "SANDBOX_NETWORK",
        script("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/w')\n" + SCRIPT),
        "tried to use the network",
        "Models run without a network: commit what is needed",
        script("open('weights.csv').read()\n" + SCRIPT, **{"weights.csv": "1"}),
    ),
    "a thread": PushCase(
        "SANDBOX_PROCESS",
        script("import threading\nthreading.Thread(target=print).start()\n" + SCRIPT),
        "tried to start a process",
        "models run in one process without threads of their own".capitalize(),
        {"predict.py": SCRIPT},
    ),
    "a file of the author's": PushCase(
        "SANDBOX_FILE",
        script("W = open('/etc/passwd').read()\n" + SCRIPT),
        "tried to open a file that is not the model's",
        "Commit the file into the model's folder, and open it by its path from there",
        script("W = open('weights.csv').read()\n" + SCRIPT, **{"weights.csv": "1"}),
    ),
    "a file that is left out": PushCase(
        "PREDICT_FAILED",
        script("W = open('/home/ada/weights.csv').read()\n" + SCRIPT),
        "/home/ada/weights.csv' (predict.py, line 1)",
        "Commit the file into the model's folder, and open it by its path from there",
        script("W = open('weights.csv').read()\n" + SCRIPT, **{"weights.csv": "1"}),
    ),
    "a file that is left out of a call": PushCase(
        "EXAMPLES_FAILED",
        script("def predict(input): return {'x': open('a/towns.csv').read()}\n"),
        "a/towns.csv' (predict.py, line 1, in predict)",
        "Commit the file into the model's folder, and open it by its path from there",
        {"a/towns.csv": "Ulm"},
    ),
    "an answer of its input's type": PushCase(
        "ANSWERS_DIFFER",
        {"model.pkl": pickled_of("same", SAME, "Twice()"), "same.py": SAME,
         "examples.json": "[[4711]]"},
        "value is float64 for these rows, and was int64 when it was built: have the model give "
        "one type whatever its input's type is, say by astype(float)",
        "The model that is loaded to be served answers otherwise",
        {"same.py": SAME.replace("return X[:, 0]", "return X[:, 0].astype(float)")},
    ),
    "an exit": PushCase(
        "SANDBOX_CRASHED",
        script("import os\nos._exit(3)\n" + SCRIPT),
        "exit code 3",
        "The model's code must not end the process",
        {"predict.py": SCRIPT},
    ),
    "a native crash": PushCase(
        "SANDBOX_CRASHED",
        {"model.pkl": calling("import ctypes; ctypes.string_at(0)")},
        "SIGSEGV",
        "Load the model in a fresh Python with the server's package versions",
        {"model.pkl": good_model()},
    ),
    "a step that no graph has": PushCase(
        "ENGINE_NOT_POSSIBLE",
        {"model.pkl": pickled_of("features", OWN_CLASS, "Twice()"),
         "features.py": OWN_CLASS, MANIFEST: 'engine = "onnx"'},
        'the manifest asks for engine = "onnx"',
        'Set engine = "auto" or leave it out',
        manifest('engine = "auto"'),
    ),
    "an operator that only a worker may run": PushCase(
        "ENGINE_NOT_POSSIBLE",
        {"model.onnx": diagonal_graph(), MANIFEST: 'engine = "onnx"'},
        'the manifest asks for engine = "onnx"',
        'Set engine = "auto" or leave it out',
        {MANIFEST: None},
    ),
    "a script that writes to the build": PushCase(
        "BUILD_ANSWER_INVALID",
        script("import os\nfor fd in range(3, 400):\n    try: os.write(fd, b'x' * 64)\n"
               "    except OSError: pass\n" + SCRIPT),
        "the build's answer does not have the right form",
        "must not write to file descriptors that it did not open",
        {"predict.py": SCRIPT},
    ),
}  # fmt: skip
"""By what is wrong; each has a repository of that name."""
