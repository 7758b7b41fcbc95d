"""Each kind of bad push fails with its own reason, and the last good version stays."""

import pickle

import pytest
import sklearn.base
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from pushserve_server.domain.states import DeploymentState as S
from tests.fixtures.deploying import Yard, calling, iris_model
from tests.fixtures.git_server import Submodule, Symlink
from tests.fixtures.shares import share

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
OPEN_SOCKET = "import socket; socket.create_connection(('127.0.0.1', 9))"
FORK = "import os\nwhile True: os.fork()"


def of_another_sklearn(monkeypatch: pytest.MonkeyPatch) -> bytes:
    data = load_iris()
    model = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.base, "__version__", "1.3.2")
        return pickle.dumps(model)


def bad(model: bytes | None = None, **files: object) -> dict[str, object]:
    named = {name.replace("_json", ".json"): content for name, content in files.items()}
    return {"model.pkl": iris_model() if model is None else model, **named}


CASES = [
    ({"README": "x"}, "ARTIFACT_MISSING", S.CHECKING, "README"),
    (bad() | {"model.joblib": iris_model()}, "ARTIFACT_AMBIGUOUS", S.CHECKING, "model.joblib"),
    (bad() | {"pushserve.toml": "artefact = 1"}, "MANIFEST_INVALID", S.CHECKING, "artefact"),
    (bad() | {"requirements.txt": "scikit-learn==1.3.2"}, "REQUIREMENTS_NOT_SATISFIED",
     S.CHECKING, "scikit-learn==1.3.2"),
    (bad() | {"pushserve.toml": 'name = "roses"'}, "MODEL_RENAMED", S.CHECKING, "roses"),
    (bad(b"\x80\x04garbage"), "ARTIFACT_UNREADABLE", S.BUILDING, "model.pkl"),
    (bad(pickle.dumps({"not": "a model"})), "NOT_A_MODEL", S.BUILDING, "dict"),
    (bad(pickle.dumps(LogisticRegression())), "MODEL_NOT_FITTED", S.BUILDING, "not fitted"),
    (bad(examples_json='[{"input": [5.1, 3.5, 1.4, 0.2], "output": 2}]'), "EXAMPLES_FAILED",
     S.BUILDING, "2"),
    (bad(examples_json="{"), "EXAMPLES_INVALID", S.BUILDING, "examples.json"),
    (bad(calling(OPEN_SOCKET)), "SANDBOX_NETWORK", S.BUILDING, "network"),
    (bad(calling(FORK)), "SANDBOX_PROCESS", S.BUILDING, "process"),
    (bad(calling("open('/etc/passwd').read()")), "SANDBOX_FILE", S.BUILDING, "/etc/passwd"),
    (bad(calling("bytearray(8 * 1024**3)")), "SANDBOX_MEMORY", S.BUILDING, "memory"),
    (bad(calling("import os; os._exit(0)")), "SANDBOX_CRASHED", S.BUILDING, "exit code 0"),
    (bad(calling("import ctypes; ctypes.string_at(0)")), "SANDBOX_CRASHED", S.BUILDING, "SIGSEGV"),
    (bad() | {"predict.py": "x = 1"}, "PREDICT_MISSING", S.BUILDING, "predict"),
    (bad(b"x" * (3 * 1024**2)), "ARTIFACT_TOO_LARGE", S.FETCHING, "model.pkl"),
    ({"model.pkl": Symlink("../../../etc/passwd")}, "SYMLINK_NOT_ALLOWED", S.FETCHING, "model.pkl"),
    ({"model.pkl": POINTER}, "LFS_POINTER", S.FETCHING, "model.pkl"),
    (bad(sub=Submodule("a" * 40)), "SUBMODULE_NOT_ALLOWED", S.FETCHING, "sub"),
]  # fmt: skip


@pytest.mark.parametrize("case", share(CASES, 2), ids=[case[1] for case in CASES])
def test_a_bad_push_fails_for_its_own_reason(yard: Yard, case):
    files, reason, step, said = case
    with yard.deployer():
        yard.live({"model.pkl": iris_model(), "examples.json": "[[5.1, 3.5, 1.4, 0.2]]"})
        done = yard.ended(yard.push(files))
    assert (S.FAILED, reason, step) == (done.state, done.failure.reason, done.failure.step)
    assert said in done.failure.message
    assert done.failure.fix
    assert 1 == yard.served()


def test_a_pickle_of_another_sklearn_is_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    with yard.deployer():
        failure = yard.ended(yard.push({"model.pkl": of_another_sklearn(monkeypatch)})).failure
    assert "SKLEARN_VERSION_MISMATCH" == failure.reason
    assert "1.3.2" in failure.message
    assert sklearn.__version__ in failure.fix


def test_the_registry_cannot_be_read_from_a_pickle(yard: Yard):
    database = yard.settings.data_dir / "registry.sqlite3"
    assert database.read_bytes().startswith(b"SQLite")
    with yard.deployer():
        code = f"open({str(database)!r}, 'rb').read()"
        failure = yard.ended(yard.push({"model.pkl": calling(code)})).failure
    assert "SANDBOX_FILE" == failure.reason


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(600)"])
def test_a_model_that_never_loads_is_stopped(yard: Yard, code):
    with yard.deployer(build_timeout=2):
        failure = yard.ended(yard.push({"model.pkl": calling(code)})).failure
    assert ("SANDBOX_TIMEOUT", S.BUILDING) == (failure.reason, failure.step)


def test_a_source_trusted_with_data_may_not_send_code(yard: Yard, git_host):
    repo = git_host.create("data/iris")
    repo.force({"model.pkl": iris_model()})
    with yard.deployer():
        failure = yard.ended(yard.register(source=repo.url)).failure
    assert "FORMAT_NOT_TRUSTED" == failure.reason
    assert f'url = "{repo.url}"' in failure.fix


def test_a_corrected_push_goes_live(yard: Yard):
    with yard.deployer():
        assert S.FAILED is yard.ended(yard.push({"README": "x"})).state
        assert 1 == yard.live({"model.pkl": iris_model()}).version
