"""Cases of pushes whose model is loaded and tried, and raises, varies or does what it may not."""

from __future__ import annotations

from tests.fixtures.deploying import calling
from tests.reasons.file_cases import EXAMPLE, manifest, model
from tests.reasons.graph_files import diagonal_graph
from tests.reasons.model_cases import OWN_CLASS, SCRIPT, script
from tests.reasons.push_case import MANIFEST, PushCase, good_model, pickled_of

PICKY = OWN_CLASS.replace(
    "X[:, 0] * 2", "self.only(X)\n    def only(self, X):\n"
    "        assert (X[:, 0] == 4711).all(), 'codes alone'\n        return X[:, 0] * 1.0"
)  # fmt: skip
COUNTING = OWN_CLASS.replace(
    "return X[:, 0] * 2",
    "self.n = getattr(self, 'n', 0) + 1; return X[:, 0] * 2 + self.n",
)
SAME = PICKY.replace("X[:, 0] * 1.0", "X[:, 0]")


CASES = {
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
    "an answer that is no object": PushCase(
        "EXAMPLES_FAILED",
        script("def predict(input): return [input['x'] * 2]\n"),
        "its answer cannot be sent: a row's result is an object (dict); this is builtins.list",
        "Have predict return a dict of JSON's values",
        {"predict.py": SCRIPT},
    ),
    "an answer that holds an object": PushCase(
        "EXAMPLES_FAILED",
        script("def predict(input): return {'twice': {input['x'] * 2}}\n"),
        "its answer cannot be sent: builtins.set is not a JSON value",
        "numbers, texts, truth values, None, and lists and dicts of these",
        {"predict.py": SCRIPT},
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
