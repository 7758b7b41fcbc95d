"""Builds of every kind in the real jail, and a worker there."""

from __future__ import annotations

import io
import socket

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pushserve_runtime.signature import Signature
from pushserve_server.sandbox_client import JobPolicy

X, y = load_iris(return_X_y=True)
DEADLINE = 60.0


def build_in_jail(zygote, folder, **changes):
    policy = JobPolicy(read=(folder.path,), memory=1 << 30, cpu_seconds=60, file_size=0)
    with zygote.start("build", folder.spec(**changes), policy) as job:
        while True:
            message = job.receive(DEADLINE)
            assert message is not None, "the build ended without an answer"
            if "blob" in message:
                file = io.BytesIO()
                job.receive_into(file, message["size"], DEADLINE)
                assert message["size"] == len(file.getvalue())
            if "ok" in message:
                return message


def mixed():
    frame = pd.DataFrame({"colour": ["red", None, "blue"] * 6, "size": [1.0, np.nan, 3.0] * 6})
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["colour"]),
        (SimpleImputer(), ["size"]),
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 1] * 6)


MODELS = {
    "linear": lambda: LogisticRegression(max_iter=500).fit(X, y),
    "forest, all cores": lambda: RandomForestClassifier(3, n_jobs=-1).fit(X, y),
    "boosted": lambda: HistGradientBoostingClassifier(max_iter=3).fit(X, y),
    "neighbours": lambda: KNeighborsClassifier().fit(X, y),
    "table": mixed,
    "texts": lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        ["aa bb", "cc dd"], [0, 1]
    ),
}

# Fitted with more threads than the jail has; dart's dropped trees stay Python.
BOOSTED = {
    "XGBoost": ("xgboost", "XGBClassifier", {"n_jobs": 4}, "onnx"),
    "XGBoost's dart": (
        "xgboost",
        "XGBClassifier",
        {"n_jobs": 4, "booster": "dart", "rate_drop": 0.5},
        "worker",
    ),
    "LightGBM": ("lightgbm", "LGBMClassifier", {"n_jobs": 4, "verbose": -1}, "onnx"),
    "LightGBM's linear trees": (
        "lightgbm",
        "LGBMRegressor",
        {"n_jobs": -1, "verbose": -1, "linear_tree": True},
        "worker",
    ),
}


@pytest.mark.parametrize("name", BOOSTED)
def test_boosters_in_the_jail(zygote, folder, name):
    package, kind, settings, engine = BOOSTED[name]
    module = pytest.importorskip(package, reason=f"{package} is an optional extra")
    model = getattr(module, kind)(n_estimators=5, **settings).fit(X, y)

    outside = folder.signature(model)
    inside = build_in_jail(zygote, folder)

    assert inside["ok"], inside
    assert outside == Signature.from_json(inside["signature"])
    assert engine == inside["engine"], inside["report"]["engine_reason"]


@pytest.mark.parametrize("name", MODELS)
def test_builds_in_the_jail_as_outside(zygote, folder, name):
    model = MODELS[name]()

    outside = folder.signature(model)
    inside = build_in_jail(zygote, folder)

    assert inside["ok"], inside
    assert outside == Signature.from_json(inside["signature"])


def test_skops_in_the_jail(zygote, folder):
    skops.io.dump(MODELS["linear"](), folder.path / "model.skops")

    result = build_in_jail(zygote, folder, format="skops", artifact="model.skops")

    assert result["ok"], result


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "SANDBOX_NETWORK"),
        ("import os; os.fork()", "SANDBOX_PROCESS"),
        ("import subprocess; subprocess.run(['true'])", "SANDBOX_PROCESS"),
        ("open('/etc/shadow')", "SANDBOX_FILE"),
        ("b = bytearray(1 << 40)", "SANDBOX_MEMORY"),
    ],
)
def test_what_a_script_may_not_do(zygote, folder, code, reason):
    folder.write("predict.py", f"{code}\ndef predict(input): return {{}}\n")

    result = build_in_jail(zygote, folder, format="predict.py", artifact=None)

    assert reason == result["reason"], result


def test_old_platform_in_the_jail(zygote, folder):
    """Its folder is the working directory, and its own files can be read."""
    joblib.dump(MODELS["linear"](), folder.path / "model.pkl")
    folder.write(
        "predict.py",
        "import joblib\nmodel = joblib.load('model.pkl')\n"
        "def predict(input):\n    return {'p': model.predict([input['row']])[0]}\n",
    )
    folder.write("examples.json", [{"input": {"row": X[0].tolist()}, "output": {"p": 0}}])

    result = build_in_jail(zygote, folder, format="predict.py", artifact="model.pkl")

    assert result["ok"], result


def test_graph_in_the_jail(zygote, folder):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["X"], ["Y"])],
        "g",
        [value("X", TensorProto.FLOAT, [None, 2])],
        [value("Y", TensorProto.FLOAT, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.write("model.onnx", model.SerializeToString())

    result = build_in_jail(zygote, folder, format="onnx", artifact="model.onnx")

    assert result["ok"], result
    assert "onnx" == result["engine"]


def test_worker_in_the_jail(zygote, folder, tmp_path):
    """It answers on the listener that it inherits, and ends with its channel."""
    from pushserve_runtime.frames import Array
    from pushserve_runtime.signature import DType
    from tests.fixtures.worker_process import FrameClient

    joblib.dump(MODELS["forest, all cores"](), folder.path / "model.joblib")
    path = tmp_path / "worker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        policy = JobPolicy(read=(folder.path,), memory=1 << 30)
        with zygote.start("worker", folder.spec(), policy, fds=(listener.fileno(),)) as job:
            assert {"ready": True} == job.receive(DEADLINE)
            client = FrameClient(path)
            client.send(3, [Array(DType.FLOAT64, X[:2])])

            assert (3, [[0, 0]]) == client.answer()

            job.channel.shutdown(socket.SHUT_RDWR)
            exit_ = job.wait(DEADLINE)
            client.sock.close()
    assert 0 == exit_.code
