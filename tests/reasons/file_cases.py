"""Cases of pushes that fail for what the repository's files are, before any model is loaded."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from tests.fixtures.git_server import Submodule, Symlink
from tests.reasons.push_case import MANIFEST, Files, PushCase, code_of, good_model, line_of

SCIKIT_LEARN = version("scikit-learn")
EXAMPLE = json.dumps([{"input": [1.0, 2.0], "output": 5.0}])
SCRIPT = "def predict(input: dict) -> dict:\n    return {'twice': input['x'] * 2}\n"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"


def model(**more: object) -> Files:
    """A folder with the good model, and more files: their names have "_" for "."."""
    return {"model.joblib": good_model(), **more}  # type: ignore[dict-item]


def manifest(text: str) -> Files:
    return {MANIFEST: f"{text}\n"}


def asked_lines(fix: str) -> Files:
    """The requirements as the fix has them."""
    wanted = fix.partition("with these lines:\n")[2].splitlines()
    return {"requirements.txt": "\n".join(line for line in wanted if "==" in line)}


CASES = {
    "no model file": PushCase(
        "ARTIFACT_MISSING",
        {"README.md": "a model, soon", MANIFEST: 'name = "soon"'},
        "README.md",
        "Commit the model as model.skops, model.onnx, model.joblib or model.pkl",
        {"model.joblib": good_model()},
    ),
    "not the file that is named": PushCase(
        "ARTIFACT_MISSING",
        {"models/iris.joblib": good_model(), **manifest('artifact = "iris.joblib"')},
        "iris.joblib, which is not in the folder; there are: models/iris.joblib",
        "correct the line artifact = … in pushserve.toml",
        manifest('artifact = "models/iris.joblib"'),
    ),
    "a script that is named": PushCase(
        "ARTIFACT_MISSING",
        {"README.md": "x", **manifest('artifact = "predict.py"')},
        "predict.py",
        "Commit predict.py",
        {"predict.py": SCRIPT},
    ),
    "two model files": PushCase(
        "ARTIFACT_AMBIGUOUS",
        model(**{"model.pkl": good_model()}),
        "2 models: model.joblib, model.pkl",
        "say which one in pushserve.toml",
        lambda fix: manifest(line_of(fix, "artifact = ")),
    ),
    "two files of other names": PushCase(
        "ARTIFACT_AMBIGUOUS",
        {"b.joblib": good_model(), "a.JOBLIB": good_model()},
        "a.JOBLIB, b.joblib",
        "Remove all but one",
        {"a.JOBLIB": None},
    ),
    "an mlflow folder": PushCase(
        "MLFLOW_NOT_YET",
        {
            "MLmodel": "flavors: {}",
            "model.pkl": good_model(),
            "requirements.txt": "mlflow==2.1\n",
        },
        "MLflow",
        "remove from requirements.txt what the model does not import, such as mlflow",
        lambda fix: {
            **manifest(code_of(fix, r'artifact = "[^"]+"')),
            "requirements.txt": "numpy\n",
        },
    ),
    "a mlflow folder whose requirements stay": PushCase(
        "MLFLOW_NOT_YET",
        {
            "MLmodel": "flavors: {}",
            "model.pkl": good_model(),
            "requirements.txt": "mlflow==2.1\n",
        },
        "MLmodel",
        "Name the model file",
        lambda fix: manifest(code_of(fix, r'artifact = "[^"]+"')),
        then="REQUIREMENTS_NOT_SATISFIED",
    ),
    "a file of no known format": PushCase(
        "FORMAT_UNKNOWN",
        {"model.h5": b"weights", **manifest('artifact = "model.h5"')},
        "model.h5",
        "commit that file, and name it in pushserve.toml or remove the line artifact = …",
        {"model.joblib": good_model(), **manifest("workers = 1")},
    ),
    "a file for a script": PushCase(
        "FORMAT_UNKNOWN",
        {"weights.csv": "2.0", **manifest('artifact = "weights.csv"')},
        "weights.csv",
        "load weights.csv in a predict.py, with",
        lambda fix: {
            "predict.py": "w = float(open('weights.csv').read())\n"
            "def predict(input):\n    return {'y': w * input['x']}\n",
            **manifest(code_of(fix, r'artifact = "[^"]+"')),
        },
    ),
    "no such examples": PushCase(
        "EXAMPLES_MISSING",
        model(**{"example.json": EXAMPLE, MANIFEST: 'examples = "examples.json"'}),
        "examples.json",
        "correct the line examples = … in pushserve.toml",
        manifest('examples = "example.json"'),
    ),
    "another release": PushCase(
        "REQUIREMENTS_NOT_SATISFIED",
        model(**{"requirements.txt": "scikit-learn==1.3.2\n"}),
        f"scikit-learn==1.3.2: {SCIKIT_LEARN} is installed",
        "with these lines:",
        asked_lines,
    ),
    "a package that is not there": PushCase(
        "REQUIREMENTS_NOT_SATISFIED",
        model(**{"requirements.txt": "numpy\npushserve-no-such>=1\n"}),
        "pushserve-no-such>=1: not installed",
        "A line that the model does not need can be removed",
        {"requirements.txt": "numpy\n"},
    ),
    "another file of requirements": PushCase(
        "REQUIREMENTS_NOT_SATISFIED",
        model(**{"requirements.txt": "-r base.txt\n", "base.txt": "numpy\n"}),
        "write their lines here instead",
        "can be removed",
        {"requirements.txt": "numpy\n"},
    ),
    "another Python": PushCase(
        "REQUIREMENTS_NOT_SATISFIED",
        model(**{"requirements.txt": "python<3\nnumpy\n"}),
        f"the server runs Python {sys.version.split()[0]}",
        "Train and save the model with the packages that the server has",
        {"requirements.txt": "python>=3\nnumpy\n"},
    ),
    "a key that is none": PushCase(
        "MANIFEST_INVALID",
        model(**{MANIFEST: 'artefact = "model.joblib"'}),
        "Did you mean 'artifact'?",
        "Correct pushserve.toml",
        manifest('artifact = "model.joblib"'),
    ),
    "a manifest that is no TOML": PushCase(
        "MANIFEST_INVALID",
        model(**{MANIFEST: "name = iris"}),
        "it is not TOML",
        'name = "iris"',
        lambda fix: manifest(code_of(fix, r'name = "[^"]+"')),
    ),
    "several models in one manifest": PushCase(
        "MANIFEST_INVALID",
        model(**{MANIFEST: '[[models]]\nname = "a"'}),
        "[[models]]",
        "Give each model a folder with a pushserve.toml of its own",
        manifest('name = "of-its-own"'),
    ),
    "a graph of a script": PushCase(
        "ENGINE_NOT_POSSIBLE",
        model(**{"predict.py": SCRIPT, MANIFEST: 'engine = "onnx"'}),
        "a predict.py is Python code",
        'Set engine = "auto" in pushserve.toml',
        lambda fix: manifest(code_of(fix, r'engine = "[^"]+"')),
    ),
    "a graph of a script that is not needed": PushCase(
        "ENGINE_NOT_POSSIBLE",
        model(**{"predict.py": SCRIPT, MANIFEST: 'engine = "onnx"'}),
        "predict.py",
        "remove predict.py if the model alone will do",
        {"predict.py": None},
    ),
    "a symbolic link": PushCase(
        "SYMLINK_NOT_ALLOWED",
        {"model.joblib": Symlink("best/model.joblib"), "best/model.joblib": good_model()},
        "model.joblib",
        "Commit the file itself in place of the link: cp --remove-destination",
        model(),
    ),
    "a submodule": PushCase(
        "SUBMODULE_NOT_ALLOWED",
        model(lib=Submodule("a" * 40)),
        "lib",
        "Commit the files that the model needs themselves",
        {"lib": None, "lib/steps.py": "x = 1"},
    ),
    "a pointer of Git LFS": PushCase(
        "LFS_POINTER",
        {"model.joblib": POINTER, ".gitattributes": "*.joblib filter=lfs diff=lfs -text\n"},
        "model.joblib",
        "git lfs untrack model.joblib",
        model(**{".gitattributes": ""}),
    ),
    "a name with a newline": PushCase(
        "BAD_FILE_NAME",
        model(**{"notes\nof the day.txt": "x"}),
        "control character",
        "Rename the file (git mv)",
        {"notes\nof the day.txt": None, "notes.txt": "x"},
    ),
    "an example where none is meant": PushCase(
        "EXAMPLES_INVALID",
        model(**{"test_data.json": '{"rows": 100, "seed": 1}'}),
        "test_data.json",
        "If test_data.json is no file of examples for pushserve, rename it",
        {"test_data.json": None, "training.json": '{"rows": 100, "seed": 1}'},
    ),
    "a name that is none": PushCase(
        "MANIFEST_INVALID",
        model(**{MANIFEST: 'name = "My Model"'}),
        "lower case letters",
        "Correct pushserve.toml",
        manifest('name = "my-model"'),
    ),
}
"""By what is wrong; each has a repository of that name."""
