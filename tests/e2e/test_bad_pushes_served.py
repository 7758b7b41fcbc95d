# ruff: noqa: E501 (a table reads by its lines)
"""Bad pushes to a whole server: each fails with its own reason while the good version answers."""

import contextlib
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import sklearn.base
from sklearn.linear_model import LogisticRegression

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from tests.fixtures import models
from tests.fixtures.deploying import calling
from tests.fixtures.git_server import Content, GitHost, Repo, Symlink
from tests.fixtures.served import Served, start, stop, until

ROW = [5.1, 3.5, 1.4, 0.2]
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
GOOD = models.answering_files("v1")["model.joblib"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """A server with small limits."""
    sources = (
        f'[[sources]]\nurl = "{hub.address}/data-*"\ntrust = "data"\n'
        f'[[sources]]\nurl = "{hub.address}/code-*"\ntrust = "code"\n'
    )
    limits = {"build_timeout": 4, "sandbox_memory": "1 GiB", "max_artifact": "256 KiB"}
    server = start(tmp_path_factory.mktemp("server"), sources, limits)
    yield server
    stop(server)


@dataclass
class Watch:
    """Calls the good model all the time, from before the first bad push to after the last."""

    versions: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    calls: int = 0


@pytest.fixture(scope="module")
def repo(served: Served, hub: GitHost) -> Repo:
    """A repository whose first commit is live."""
    repo = hub.create("code-victim")
    repo.commit({"model.joblib": GOOD})
    served.ready(repo.url, model="victim")
    return repo


@pytest.fixture(scope="module")
def watch(served: Served, repo: Repo) -> Iterator[Watch]:
    watch, stopped = Watch(), threading.Event()

    def call() -> None:
        with grpc.insecure_channel(served.address) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            request = pb.PredictRequest(model="victim", tensor=pb.Tensor(values=ROW))
            while not stopped.wait(0.02):
                try:
                    watch.versions.add(stub.Predict(request, timeout=20).version)
                except grpc.RpcError as error:
                    watch.failures.append(f"{error.code()} {error.details()}")
                watch.calls += 1

    caller = threading.Thread(target=call)
    caller.start()
    yield watch
    stopped.set()
    caller.join(30)


@pytest.fixture(scope="module")
def long_lived(served: Served, repo: Repo) -> list[int]:
    """The processes that no bad push may end."""
    return long_lived_now(served)


def long_lived_now(served: Served) -> list[int]:
    kinds = ("frontend-", "deployer", "pushserve_sandbox")
    return sorted(pid for kind in kinds for pid in served.pids(kind))


def of_another_sklearn() -> bytes:
    """A pickle whose state says that 1.3.2 saved it."""
    version, sklearn.base.__version__ = sklearn.base.__version__, "1.3.2"
    try:
        return pickle.dumps(models.selection("old"))
    finally:
        sklearn.base.__version__ = version


def pickled(code: str) -> dict[str, Content]:
    return {"model.joblib": None, "model.pkl": calling(code)}


def with_model(**more: Content) -> dict[str, Content]:
    return {"model.joblib": GOOD, **{n.replace("_json", ".json"): c for n, c in more.items()}}


SLEEP = "import time; time.sleep(600)"
FORK = "import os\nwhile True: os.fork()"
THREADS = "import threading\nwhile True: threading.Thread(target=lambda: None).start()"
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9))"
DATAGRAM = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
UNIX = "import socket; socket.socket(socket.AF_UNIX).connect('RUN_DIR/zygote.sock')"
MANIFEST = "pushserve.toml"

# What is pushed, the reason, the step, and a text of the message or the fix.
CASES = {
    "no model": ({"model.joblib": None, "README": "x"}, "ARTIFACT_MISSING", "CHECKING", "model.joblib"),
    "two models": (with_model(**{"model.pkl": GOOD}), "ARTIFACT_AMBIGUOUS", "CHECKING", "model.pkl"),
    "a broken pickle": ({"model.joblib": b"\x80\x04garbage"}, "ARTIFACT_UNREADABLE", "BUILDING", "model.joblib"),
    "an empty file": ({"model.joblib": b""}, "ARTIFACT_UNREADABLE", "BUILDING", "empty"),
    "no model in it": ({"model.joblib": models.dumped([1, 2])}, "NOT_A_MODEL", "BUILDING", "list"),
    "not fitted": ({"model.joblib": models.dumped(LogisticRegression())}, "MODEL_NOT_FITTED", "BUILDING", "fit"),
    "another sklearn": ({"model.joblib": None, "model.pkl": of_another_sklearn()}, "SKLEARN_VERSION_MISMATCH", "BUILDING", "1.3.2"),
    "a missing package": (pickled("import pushserve_no_such_package"), "MISSING_PACKAGE", "BUILDING", "pushserve_no_such_package"),
    "examples that do not hold": (with_model(examples_json='[{"input": [5.1, 3.5, 1.4, 0.2], "output": "v1-virginica"}]'), "EXAMPLES_FAILED", "BUILDING", "v1-setosa"),
    "examples that are none": (with_model(examples_json="{"), "EXAMPLES_INVALID", "BUILDING", "examples.json"),
    "requirements": (with_model(**{"requirements.txt": "scikit-learn==1.3.2\n"}), "REQUIREMENTS_NOT_SATISFIED", "CHECKING", "scikit-learn==1.3.2"),
    "an unknown package": (with_model(**{"requirements.txt": "pushserve-no-such==1\n"}), "REQUIREMENTS_NOT_SATISFIED", "CHECKING", "pushserve-no-such"),
    "a key that is none": (with_model(**{MANIFEST: "artefact = 1"}), "MANIFEST_INVALID", "CHECKING", "artefact"),
    "no TOML": (with_model(**{MANIFEST: "name = "}), "MANIFEST_INVALID", "CHECKING", "TOML"),
    "another name": (with_model(**{MANIFEST: 'name = "roses"'}), "MODEL_RENAMED", "CHECKING", "roses"),
    "an artifact that is not there": (with_model(**{MANIFEST: 'artifact = "m.skops"'}), "ARTIFACT_MISSING", "CHECKING", "m.skops"),
    "an engine that cannot be": (with_model(**{MANIFEST: 'engine = "onnx"', "predict.py": "def predict(row): return row"}), "ENGINE_NOT_POSSIBLE", "", "onnx"),
    "a socket": (pickled(CONNECT), "SANDBOX_NETWORK", "BUILDING", "network"),
    "a datagram": (pickled(DATAGRAM), "SANDBOX_NETWORK", "BUILDING", "network"),
    "the zygote": (pickled(UNIX), "SANDBOX_NETWORK", "BUILDING", "network"),
    "the registry": (pickled("open('DATA_DIR/registry.sqlite3', 'rb').read()"), "SANDBOX_FILE", "BUILDING", "registry.sqlite3"),
    "the configuration": (pickled("open('DATA_DIR/config.toml', 'rb').read()"), "SANDBOX_FILE", "BUILDING", "config.toml"),
    "a file that it writes": (pickled("open('/tmp/pushserve-was-here', 'w')"), "SANDBOX_FILE", "BUILDING", "/tmp"),
    "forks for ever": (pickled(FORK), "SANDBOX_PROCESS", "BUILDING", "process"),
    "threads for ever": (pickled(THREADS), "SANDBOX_PROCESS", "BUILDING", "process"),
    "a program": (pickled("import os; os.execv('/bin/sh', ['sh'])"), "SANDBOX_", "BUILDING", ""),
    "a signal to the zygote": (pickled("import os; os.kill(os.getppid(), 9)"), "", "BUILDING", ""),
    "eats memory": (pickled("x = []\nwhile True: x.append(bytes(2**24))"), "SANDBOX_MEMORY", "BUILDING", "memory"),
    "loops for ever": (pickled("while True: pass"), "SANDBOX_TIMEOUT", "BUILDING", "4 s"),
    "sleeps for ever": (pickled(SLEEP), "SANDBOX_TIMEOUT", "BUILDING", "4 s"),
    "ends its process": (pickled("import os; os._exit(0)"), "SANDBOX_CRASHED", "BUILDING", "exit code 0"),
    "crashes": (pickled("import ctypes; ctypes.string_at(0)"), "SANDBOX_CRASHED", "BUILDING", "SIGSEGV"),
    "over the size limit": ({"model.joblib": b"x" * (257 * 1024)}, "ARTIFACT_TOO_LARGE", "FETCHING", "model.joblib"),
    "a symlink out of the tree": ({"model.joblib": Symlink("../../../../etc/passwd")}, "SYMLINK_NOT_ALLOWED", "FETCHING", "model.joblib"),
    "an LFS pointer": ({"model.joblib": POINTER}, "LFS_POINTER", "FETCHING", "model.joblib"),
    "a predict.py without predict": (with_model(**{"predict.py": "x = 1", "test_data.json": "{}"}), "PREDICT_MISSING", "BUILDING", "predict"),
    "a predict.py that raises": (with_model(**{"predict.py": "raise OSError('no disk')", "test_data.json": "{}"}), "PREDICT_FAILED", "BUILDING", "no disk"),
    "a predict.py that fails its input": (with_model(**{"predict.py": "def predict(input): return input['x']", "test_data.json": '{"y": 1}'}), "EXAMPLES_FAILED", "BUILDING", "x"),
}  # fmt: skip


ALSO_ELSEWHERE = {
    *("two models", "a broken pickle", "no model in it", "not fitted", "another sklearn"),
    *("examples that do not hold", "examples that are none", "requirements", "a key that is none"),
    *("another name", "a socket", "the registry", "loops for ever", "sleeps for ever"),
    *("ends its process", "over the size limit", "a symlink out of the tree", "an LFS pointer"),
    *("a predict.py without predict", "an empty file", "no TOML", "an artifact that is not there"),
    *("an unknown package", "a datagram"),
}
"""What test_bad_pushes.py and tests/unit try as well: with a whole server, `make test-faults` does.
"""


def cases() -> list[Any]:
    """Each case by its name."""
    return [
        pytest.param(case, id=name, marks=[pytest.mark.long] * (name in ALSO_ELSEWHERE))
        for name, case in CASES.items()
    ]


@pytest.mark.parametrize("case", cases())
def test_a_bad_push(served: Served, repo: Repo, watch: Watch, long_lived: list[int], case):
    files, reason, step, said = case
    repo.force(
        {name: there(content, served) for name, content in files.items() if content is not None}
    )
    error = served.failed(repo.url)
    assert error.reason.startswith(reason)
    assert pb.DeploymentState.Name(error.step).endswith(step)
    assert said in error.message + error.fix
    assert error.fix
    assert "Traceback" not in error.message
    calls = watch.calls
    until(lambda: watch.calls > calls + 5)
    assert ({1}, []) == (watch.versions, watch.failures)
    assert long_lived == long_lived_now(served)


def there(content: Content, served: Served) -> Content:
    """Put the real paths into code that wants to reach them; the lengths are pickled, too."""
    if not isinstance(content, bytes) or not content.startswith(b"\x80"):
        return content
    with contextlib.suppress(Exception):
        for word, path in (("DATA_DIR", served.data_dir), ("RUN_DIR", served.run_dir)):
            if word.encode() in content:
                return calling(_code(content).replace(word, str(path)))
    return content


def _code(content: bytes) -> str:
    """The text that a pickle of `calling` would run."""
    import pickletools

    texts = [
        argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)
    ]
    return max(texts, key=len)


def test_a_corrected_push_goes_live_and_nothing_is_left(
    served: Served, repo: Repo, watch: Watch, long_lived: list[int]
):
    repo.force(models.answering_files("v2"))
    assert 2 == served.ready(repo.url).version
    until(lambda: {1, 2} == watch.versions)
    assert [] == watch.failures
    assert long_lived == long_lived_now(served)
    until(lambda: not list(served.data_dir.glob(".work-*")))
    until(lambda: len(served.pids("worker")) == 1)


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        ("pickle", {"model.pkl": GOOD}, "FORMAT_NOT_TRUSTED"),
        ("joblib", {"model.joblib": GOOD}, "FORMAT_NOT_TRUSTED"),
        ("script", models.script_files("def predict(input): return {}"), "FORMAT_NOT_TRUSTED"),
        ("fake-skops", {"model.skops": GOOD}, "ARTIFACT_UNREADABLE"),
        ("fake-onnx", {"model.onnx": GOOD}, "ARTIFACT_UNREADABLE"),
    ],
)
def test_code_on_a_source_for_data(served: Served, hub: GitHost, name, files, reason):
    """A pickle is code whatever its file is called."""
    repo = hub.create(f"data-{name}")
    repo.commit(files)
    error = served.failed(repo.url)
    assert reason == error.reason
    if reason == "FORMAT_NOT_TRUSTED":
        assert f'url = "{repo.url.removesuffix(".git")}' in error.fix
        assert 'trust = "code"' in error.fix


def test_a_source_that_is_not_listed(served: Served, hub: GitHost):
    """It is not even asked; the answer holds the lines that would list it, and no password."""
    repo = hub.create("stranger")
    repo.commit({"model.joblib": GOOD})
    asked = len(hub.requests)
    with pytest.raises(grpc.RpcError) as caught:
        served.register(repo.url.replace("http://", "http://ada:hunter2@"))
    assert grpc.StatusCode.PERMISSION_DENIED == caught.value.code()
    text = caught.value.details()
    assert "[[sources]]" in text
    assert "/stranger" in text
    assert "hunter2" not in text + served.log.read_text()
    assert asked == len(hub.requests)


def test_what_a_model_tries_at_predict_time(served: Served, hub: GitHost):
    """The sandbox holds after the gate as well, and says so."""
    repo = hub.create("code-late")
    code = """
import os
import socket

def predict(input):
    what = input.get("try")
    if what == "read":
        return {"got": open(input["path"], "rb").read().hex()}
    if what == "connect":
        socket.create_connection((input["host"], int(input["port"])))
    if what == "fork":
        os.fork()
    if what == "list":
        return {"got": os.listdir(input["path"])}
    if what == "environment":
        return {"got": str(dict(os.environ))}
    return {"got": ""}
"""
    repo.commit(models.script_files(code))
    served.ready(repo.url, model="late")
    host, _, port = served.address.rpartition(":")
    for attempt in (
        {"try": "read", "path": str(served.data_dir / "registry.sqlite3")},
        {"try": "read", "path": f"/proc/{served.process.pid}/environ"},
        {"try": "read", "path": "/proc/self/environ"},
        {"try": "read", "path": "/etc/passwd"},
        {"try": "list", "path": str(served.data_dir / "bundles")},
        {"try": "list", "path": "/"},
        {"try": "connect", "host": host, "port": port},
        {"try": "fork"},
    ):
        with pytest.raises(grpc.RpcError) as caught:
            ask(served, attempt)
        assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
        assert caught.value.details().startswith("the sandbox kept the model's code from")
    assert "PUSHSERVE" not in ask(served, {"try": "environment"})
    assert "" == ask(served, {})


def ask(served: Served, row: dict[str, str]) -> str:
    request = pb.PredictRequest(model="late")
    request.rows.add().update(row)
    return str(served.stub.Predict(request, timeout=20).rows[0]["got"])
