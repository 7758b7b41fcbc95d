"""Artifacts that cannot be served each have their own reason."""

from __future__ import annotations

import gzip
import lzma
import pickle
import sys
import types

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pushserve_sandbox.loading.artifact import use_one_thread
from pushserve_server.build.contract import find_model_files
from pushserve_server.build.manifest import Manifest
from pushserve_server.domain.records import Trust

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def classifier():
    return LogisticRegression(max_iter=500).fit(X, y)


def test_a_class_that_is_none_of_scikit_learns_may_have_fit(folder):
    """It does not say whether it is fitted, and says its number of features if it likes."""
    folder.write(
        "own_class.py",
        "class Mean:\n"
        "    n_features_in_ = 2\n"
        "    def fit(self, rows): return self\n"
        "    def predict(self, rows): return rows.mean(axis=1)\n",
    )
    folder.write("model.joblib", b"cown_class\nMean\n)\x81.")

    assert ["value"] == [output.name for output in folder.signature().outputs]


def test_joblib_and_pickle_load(folder, classifier):
    """Both formats give the same signature."""
    folder.write("model.pkl", pickle.dumps(classifier))
    by_pickle = folder.signature(format="pickle", artifact="model.pkl")

    assert by_pickle == folder.signature(classifier)


def test_the_format_decides_how_a_file_is_read_and_its_name_does_not(folder, classifier):
    """What the server has judged is the format: a pickle that is called skops stays unread."""
    skops.io.dump(classifier, folder.path / "data.pkl")
    assert folder.build(format="skops", artifact="data.pkl")["ok"]

    marker = folder.path / "code-ran"
    folder.write("code.skops", pickle.dumps(Touches(str(marker))))
    result = folder.build(format="skops", artifact="code.skops")

    assert "ARTIFACT_UNREADABLE" == result["reason"]
    assert not marker.exists()


def test_a_predict_py_opens_a_graph_by_itself(folder):
    folder.write("model.onnx", b"any bytes")
    folder.write("predict.py", "def predict(model, input):\n    return {}\n")

    result = folder.build(format="predict.py", artifact="model.onnx")

    assert "ARTIFACT_UNREADABLE" == result["reason"]
    assert "open it by itself" in result["fix"]


class Touches:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_stages_are_told(folder, classifier):
    folder.build(classifier)

    assert ["loading", "inspecting", "examples", "compiling", "answers"] == folder.stages


def test_report_says_what_it_is(folder, classifier):
    result = folder.build(make_pipeline(StandardScaler(), classifier).fit(X, y), engine="worker")

    assert "worker" == result["engine"]
    assert "Pipeline(StandardScaler, LogisticRegression)" == result["report"]["estimator"]
    steps = {"loading", "inspecting", "examples", "independence", "fast_path", "answers"}
    assert steps == set(result["report"]["timings"])


def test_a_booster_without_its_package_is_the_operators_business(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    monkeypatch.delitem(sys.modules, "xgboost.sklearn", raising=False)
    folder.write("model.joblib", b"cxgboost.sklearn\nXGBClassifier\n.")

    result = folder.build()

    assert "MISSING_PACKAGE" == result["reason"]
    assert "pushserve[boosting]" in result["fix"]


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "ARTIFACT_UNREADABLE", "is empty"),
        (b"version https://example", "ARTIFACT_UNREADABLE", "cannot be loaded"),
        (pickle.dumps(LogisticRegression())[:60], "ARTIFACT_UNREADABLE", "cannot be loaded"),
        (b"cno_such_package.inner\nThing\n.", "MISSING_PACKAGE", "imports no_such_package"),
        (b"csklearn.gone\nThing\n.", "SKLEARN_VERSION_MISMATCH", "sklearn.gone"),
        (b"c__main__\nMine\n.", "ARTIFACT_UNREADABLE", "Mine"),
        (pickle.dumps({"a": 1}), "NOT_A_MODEL", "builtins.dict"),
        (pickle.dumps(LogisticRegression), "NOT_A_MODEL", "neither predict nor transform"),
        (pickle.dumps(LogisticRegression()), "MODEL_NOT_FITTED", "LogisticRegression"),
        (
            pickle.dumps(make_pipeline(StandardScaler(), LogisticRegression())),
            "MODEL_NOT_FITTED",
            "Pipeline",
        ),
    ],
)
def test_unreadable_artifacts(folder, content, reason, says):
    folder.write("model.pkl", content)

    result = folder.build(format="pickle", artifact="model.pkl")

    assert (False, reason) == (result["ok"], result["reason"])
    assert says in result["message"]
    assert result["fix"]


def test_missing_artifact(folder):
    assert "ARTIFACT_MISSING" == folder.build()["reason"]


def test_class_of_the_training_script_has_its_own_fix(folder):
    """A pickle of a class in __main__ is the commonest trap; the fix says what to do."""
    folder.write("model.pkl", b"c__main__\nMine\n.")

    assert (
        "Move Mine into a file of its own"
        in folder.build(format="pickle", artifact="model.pkl")["fix"]
    )


def test_module_beside_the_pickle_is_found(folder):
    folder.write(
        "beside_model.py",
        "class Doubling:\n"
        "    n_features_in_ = 1\n"
        "    def predict(self, X):\n"
        "        return X[:, 0] * 2\n",
    )
    folder.write("model.pkl", b"cbeside_model\nDoubling\n)\x81.")

    signature = folder.signature(format="pickle", artifact="model.pkl")

    assert ["x0"] == [feature.name for feature in signature.inputs]


def of_other_sklearn(model: object) -> bytes:
    """Pickle a model as scikit-learn 1.3.2 would have stamped it."""
    from sklearn import __version__

    data = pickle.dumps(model)
    assert __version__.encode() in data
    return data.replace(__version__.encode(), b"1.3.2"[: len(__version__)].ljust(len(__version__)))


def test_pickle_of_another_sklearn(folder, classifier):
    """The reason names both versions."""
    from sklearn import __version__

    folder.write("model.pkl", of_other_sklearn(classifier))

    result = folder.build(format="pickle", artifact="model.pkl")

    assert "SKLEARN_VERSION_MISMATCH" == result["reason"]
    assert "1.3.2" in result["message"]
    assert __version__ in result["fix"]


def test_version_check_can_be_off(folder, classifier):
    """The mismatch is then a warning in the report."""
    folder.write("model.pkl", of_other_sklearn(classifier))

    result = folder.build(format="pickle", artifact="model.pkl", sklearn_pickle_check=False)

    assert result["ok"]
    assert any("1.3.2" in text for text in result["report"]["warnings"])


def test_skops_loads_what_is_trusted(folder, classifier):
    skops.io.dump(classifier, folder.path / "model.skops")

    assert folder.build(format="skops", artifact="model.skops")["ok"]


def test_skops_names_types_that_are_not_trusted(folder):
    forest = RandomForestClassifier(2).fit(X, y)
    skops.io.dump(forest, folder.path / "model.skops")

    result = folder.build(format="skops", artifact="model.skops")
    trusted = folder.build(
        format="skops", artifact="model.skops", skops_trusted=["sklearn.tree._tree.Tree"]
    )

    assert "SKOPS_UNTRUSTED_TYPES" == result["reason"]
    assert "sklearn.tree._tree.Tree" in result["message"]
    assert "skops_trusted_types" in result["fix"]
    assert trusted["ok"]


def test_skops_of_no_zip(folder):
    folder.write("model.skops", b"not a zip")

    result = folder.build(format="skops", artifact="model.skops")

    assert "ARTIFACT_UNREADABLE" == result["reason"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("network", "SANDBOX_NETWORK"),
        ("process", "SANDBOX_PROCESS"),
        ("file", "SANDBOX_FILE"),
    ],
)
def test_forbidden_things_have_their_reason(folder, monkeypatch, kind, reason):
    """What the jail saw is told, where loading raised because of it."""
    jail = types.ModuleType("pushserve_sandbox.isolation.jail")
    seen = types.SimpleNamespace(kind=kind, what="/etc/passwd")
    jail.first_violation = lambda: seen
    monkeypatch.setitem(sys.modules, "pushserve_sandbox.isolation.jail", jail)
    folder.write("model.pkl", b"cposix\nlistdir\n(V/no/such/folder\ntR.")

    result = folder.build(format="pickle", artifact="model.pkl")

    assert reason == result["reason"]
    assert "/etc/passwd" in result["message"]


def test_too_much_memory(folder):
    """A pickle that asks for an absurd size raises MemoryError."""
    folder.write("model.pkl", b"cbuiltins\nbytearray\n(I4611686018427387904\ntR.")

    assert "SANDBOX_MEMORY" == folder.build(format="pickle", artifact="model.pkl")["reason"]


def test_threads_are_turned_off_everywhere():
    """n_jobs of nested estimators is 1, and the answers are the same."""
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(3, n_jobs=2)).fit(X, y)
    before = pipeline.predict_proba(X[:5])

    use_one_thread(pipeline)

    assert 1 == pipeline[-1].n_jobs
    assert np.array_equal(before, pipeline.predict_proba(X[:5]))


def test_prints_reach_the_report(folder):
    """What a module prints at import is in its log, its end at least."""
    folder.write("noisy.py", "print('x' * 20000 + 'the end')\nfrom sklearn.linear_model import *\n")
    folder.write("model.pkl", b"cnoisy\nLogisticRegression\n.")

    result = folder.build(format="pickle", artifact="model.pkl")

    assert result["log"].endswith("the end\n")
    assert 8 * 1024 >= len(result["log"])


def test_control_characters_do_not_reach_the_message(folder):
    folder.write("model.pkl", b"cbuiltins\nint\n(V\x1b[31mred\ntR.")

    assert "\x1b" not in folder.build(format="pickle", artifact="model.pkl")["message"]


@pytest.mark.parametrize("name", ["churn.sav", "MODEL.PKL", "model.pkl.gz", "model.pkl.xz"])
def test_pickles_by_other_names_are_read(folder, name):
    """As they are written by the tools of these names."""
    opened = {"gz": gzip.open, "xz": lzma.open}.get(name.rpartition(".")[2], open)
    with opened(folder.path / name, "wb") as file:
        pickle.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), file)
    found = find_model_files([name], Manifest(), Trust.CODE, "https://git.example/a/b")

    assert folder.build(format=found.format, artifact=found.artifact)["ok"]
