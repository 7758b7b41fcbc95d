"""Jobs run beside an older NumPy and scikit-learn, and models of that time answer as they did."""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pushserve_runtime.frames import Array, Kind, decode_arrays
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_server.sandbox_client import JobPolicy
from tests.fixtures.environments import OldEnvironment, Release, running_environment
from tests.fixtures.worker_process import FrameClient

DEADLINE = 60.0

RELEASES = {
    "scikit-learn 1.2.2": Release(
        "3.11",
        (
            *("scikit-learn==1.2.2", "numpy==1.24.4", "scipy==1.10.1", "joblib==1.2.0"),
            *("threadpoolctl==3.1.0", "pandas==2.0.3", "python-dateutil==2.8.2", "pytz==2023.3"),
            *("six==1.16.0", "tzdata==2023.3"),
        ),
        fast_paths={
            **dict.fromkeys(("forest", "tree", "boosted"), "tree by tree"),
            **dict.fromkeys(("scaled", "columns", "regressor"), "one product"),
            **dict.fromkeys(("bayes", "texts"), "one pass for all outputs"),
        },
    ),
    "scikit-learn 1.0.2": Release(
        "3.10",
        (
            *("scikit-learn==1.0.2", "numpy==1.22.4", "scipy==1.8.1", "joblib==1.1.1"),
            *("threadpoolctl==3.0.0", "pandas==1.4.4", "python-dateutil==2.8.2", "pytz==2022.1"),
            "six==1.16.0",
        ),
        fast_paths={
            **dict.fromkeys(("forest", "tree"), "tree by tree"),
            **dict.fromkeys(("scaled", "columns", "regressor"), "one product"),
            "texts": "one pass for all outputs",
        },
    ),
}
MODELS = (
    *("forest", "tree", "scaled", "clusters", "boosted", "bayes", "regressor", "steps"),
    *("columns", "texts"),
)
OF_THE_SERVER = (
    *("peewee", "grpc", "google.protobuf", "flask", "pydantic", "uvloop", "git", "psycopg"),
    *("onnx", "onnxruntime", "skl2onnx", "skops"),
    *("pushserve", "pushserve_server", "pushserve_client", "pushserve_webhook"),
)
METHODS = {
    "label": "predict",
    "value": "predict",
    "probabilities": "predict_proba",
    "log_probabilities": "predict_log_proba",
    "decision_function": "decision_function",
    "transform": "transform",
    "apply": "apply",
}


@pytest.fixture(
    scope="module",
    params=[pytest.param("scikit-learn 1.2.2", marks=pytest.mark.long), "scikit-learn 1.0.2"],
)
def environment(request, tmp_path_factory) -> Iterator[OldEnvironment]:
    folder = tmp_path_factory.mktemp("environment")
    cache = request.config.cache.mkdir("environments")
    with running_environment(RELEASES[request.param], folder, cache) as running:
        yield running


def policy(folder: Path) -> JobPolicy:
    return JobPolicy(read=(folder,), memory=1 << 30, cpu_seconds=60, file_size=0)


def build(environment: OldEnvironment, folder: Path, **changes: Any) -> dict[str, Any]:
    spec = {"folder": str(folder), "format": "pickle", "artifact": "model.pkl", **changes}
    with environment.zygote.start("build", spec, policy(folder)) as job:
        while True:
            message = job.receive(DEADLINE)
            assert message is not None, "the build ended without an answer"
            assert "failed" not in message, message["failed"]["traceback"]
            if "ok" in message:
                return message


def built_once(environment: OldEnvironment, name: str) -> dict[str, Any]:
    """Build a model, or give what an earlier test's build of it gave."""
    if name not in environment.built:
        environment.built[name] = build(environment, environment.models / name)
    return environment.built[name]


@contextmanager
def worker(
    environment: OldEnvironment, folder: Path, built: dict[str, Any], path: Path
) -> Iterator[FrameClient]:
    spec = {
        "folder": str(folder),
        "format": "pickle",
        "artifact": "model.pkl",
        "signature": built["signature"],
        "fast_path": built["report"]["fast_path"],
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        fds = [listener.fileno()]
        with environment.zygote.start("worker", spec, policy(folder), fds) as job:
            assert {"ready": True} == job.receive(DEADLINE)
            client = FrameClient(path)
            yield client
            client.sock.close()


def inputs(folder: Path, signature: Signature, rows: int) -> list[Array]:
    """Make a request of what `train_models.py` has saved."""
    if signature.layout is Layout.MATRIX:
        return [Array(DType.FLOAT64, np.load(folder / "matrix.npy")[:rows])]
    return [
        column(json.loads((folder / f"{feature.name}.column.json").read_text())[:rows])
        for feature in signature.inputs
    ]


def column(values: list[Any]) -> Array:
    """Make a column of texts or numbers; NaN stands for a missing value of either."""
    missing = np.array([isinstance(item, float) and math.isnan(item) for item in values])
    texts = any(isinstance(item, str) for item in values)
    filled = ["" if is_missing else item for item, is_missing in zip(values, missing, strict=True)]
    nulls = missing if missing.any() else None
    if texts:
        return Array(DType.STRING, np.array(filled, object), nulls)
    return Array(DType.FLOAT64, np.array(values, "<f8"), nulls)


def own_answers(folder: Path, rows: int) -> dict[str, np.ndarray]:
    """Give what each method gave where the model was trained."""
    return {path.name.split(".")[0]: np.load(path) for path in folder.glob(f"*.{rows}.npy")}


def assert_same_bits(expected: np.ndarray, got: np.ndarray) -> None:
    assert expected.shape == got.shape
    if expected.dtype.kind == "U":
        assert expected.tolist() == got.tolist()
    else:
        wide = {"f": "<f8", "i": "<i8"}[expected.dtype.kind]
        assert expected.astype(wide).tobytes() == got.tobytes()


def test_nothing_of_the_server_is_there(environment):
    """Neither its code nor what it needs: the environment is what was installed, and job code."""
    spec = {"do": "find_modules", "args": {"names": [*OF_THE_SERVER, "pushserve_runtime"]}}
    with environment.zygote.start("jailed:attempt", spec, JobPolicy()) as job:
        assert ["pushserve_runtime"] == job.receive(DEADLINE)["value"]
    spec = {"do": "versions", "args": {"names": ["sklearn", "numpy", "pandas"]}}
    with environment.zygote.start("jailed:attempt", spec, JobPolicy()) as job:
        versions = job.receive(DEADLINE)["value"]
    release = environment.release
    expected = [release.version(name) for name in ("scikit-learn", "numpy", "pandas")]
    assert [release.python, *expected] == versions


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_bits_that_it_gave_where_it_was_trained(environment, name, tmp_path):
    folder = environment.models / name
    built = built_once(environment, name)
    assert built["ok"], built
    assert "worker" == built["engine"]
    assert "its environment has no compiler" in built["report"]["engine_reason"]
    assert [] == built["report"]["warnings"]
    signature = Signature.from_json(built["signature"])

    with worker(environment, folder, built, tmp_path / "worker.sock") as client:
        for rows in (1, 40, 300):
            own = own_answers(folder, rows)
            names = [output.name for output in signature.outputs]
            assert own.keys() == {METHODS[item] for item in names}
            client.send(7, inputs(folder, signature, rows), mask=(1 << len(names)) - 1)
            _, kind, body = client.receive()
            assert Kind.RESULT == kind, body
            _, _, arrays = decode_arrays(memoryview(body))
            for item, array in zip(names, arrays, strict=True):
                assert_same_bits(own[METHODS[item]], array.values)


def test_fast_paths_are_there_and_proved_on_many_rows(environment):
    """Trial rows come of the trees' own thresholds, which needs no ONNX."""
    for name, how in environment.release.fast_paths.items():
        report = built_once(environment, name)["report"]
        assert how == report["fast_path"]
        proved = re.search(r"bit-equal on ([\d,]+) trial rows", report["engine_reason"])
        assert proved is not None, (name, report)
        assert 1_000 < int(proved[1].replace(",", ""))


def test_a_pickle_of_another_release_is_refused_with_both_versions(environment, tmp_path):
    version = environment.release.version("scikit-learn")
    other = version[:-1] + "9"
    pickled = (environment.models / "forest" / "model.pkl").read_bytes()
    (tmp_path / "model.pkl").write_bytes(pickled.replace(version.encode(), other.encode()))

    result = build(environment, tmp_path)

    assert "SKLEARN_VERSION_MISMATCH" == result["reason"]
    assert f"saved with scikit-learn {other}; this server runs {version}" in result["message"]


def test_a_predict_py_may_import_whatever_is_installed_there(environment, tmp_path):
    """Also a module that no zygote imports beforehand: the environment's folder can be read."""
    (tmp_path / "predict.py").write_text(
        "import scipy.signal\n"
        "def predict(row):\n"
        "    return {'sums': scipy.signal.convolve(row['values'], [1, 1]).tolist()}\n"
    )
    example = {"input": {"values": [1, 2]}, "output": {"sums": [1, 3, 2]}}
    (tmp_path / "examples.json").write_text(json.dumps([example]))

    result = build(environment, tmp_path, format="predict.py", examples="examples.json")

    assert result["ok"], result
    assert 1 == result["report"]["examples_checked"]


def test_a_manifest_that_asks_for_a_graph_is_told_why_there_is_none(environment):
    result = build(environment, environment.models / "scaled", engine="onnx")
    assert "ENGINE_NOT_POSSIBLE" == result["reason"]
    assert "its environment has no compiler" in result["message"]
