"""Reasons that the operator cures, by the lines of the fixes in the configuration."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import skops.io
from sklearn.neighbors import KNeighborsRegressor

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures.git_server import Content, GitHost, serve_git
from tests.fixtures.served import Served, start, stop
from tests.reasons.graph_files import doubling_graph
from tests.reasons.push_case import DATA, good_model

SMALL = {
    "frontends": 1,
    "build_timeout": 4,
    "fetch_timeout": 2,
    "sandbox_memory": "1 GiB",
    "max_artifact": "64 KiB",
    "max_repository": "96 KiB",
}
LARGE = {
    "frontends": 1,
    "build_timeout": 60,
    "sandbox_memory": "4 GiB",
    "max_artifact": "1 MiB",
    "max_repository": "2 MiB",
}
SCRIPT = "def predict(input): return {}\n"
SLOW = f"import time\ntime.sleep(5)\n{SCRIPT}"
LARGE_SCRIPT = f"BIG = bytes(2**30)\n{SCRIPT}"


def neighbours() -> bytes:
    """A model with types that skops does not trust by itself."""
    data: bytes = skops.io.dumps(KNeighborsRegressor(2, algorithm="kd_tree").fit(DATA, DATA[:, 0]))
    return data


# By reason: the repository, its files, and words of the message and the fix.
CASES: dict[str, tuple[str, dict[str, Content], str, str]] = {
    "FORMAT_NOT_TRUSTED": (
        "data-pickle", {"model.joblib": good_model()},
        "runs code when it is loaded", "ask the server's operator to trust the source with code:"),
    "SKOPS_UNTRUSTED_TYPES": (
        "data-skops", {"model.skops": neighbours()},
        "holds types that this server does not trust", "skops_trusted_types"),
    "ARTIFACT_TOO_LARGE": (
        "code-large", {"predict.py": SCRIPT, "table.csv": b"x" * 70_000},
        "table.csv is over the limit of 64 KiB a file", "max_artifact"),
    "REPOSITORY_TOO_LARGE": (
        "code-many", {"predict.py": SCRIPT, "a.csv": b"x" * 50_000, "b.csv": b"y" * 50_000},
        "over the limit of 96 KiB a model folder", "max_repository"),
    "SANDBOX_TIMEOUT": (
        "code-slow", {"predict.py": SLOW}, "took more than 4 s", "build_timeout"),
    "SANDBOX_MEMORY": (
        "code-memory", {"predict.py": LARGE_SCRIPT}, "memory", "sandbox_memory"),
}  # fmt: skip


Step = Callable[[Served, GitHost], dict[str, Any]]


@pytest.fixture(scope="module")
def cured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Push every case to a strict server, change its configuration, and register them again.

    Gives error and deployment by reason.
    """
    folder = tmp_path_factory.mktemp("operator")
    (folder / "hub").mkdir()
    with serve_git(folder / "hub") as hub:
        strict = (
            f'[[sources]]\nurl = "{hub.address}/data-*"\ntrust = "data"\n\n'
            f'[[sources]]\nurl = "{hub.address}/code-*"\ntrust = "code"\n'
        )
        errors = with_server(folder, strict, SMALL, hub, fail_all)
        config = mended(strict, errors)
        done = with_server(folder, config, LARGE, hub, register_again)
    return errors, done


def with_server(
    folder: Path, config: str, settings: Mapping[str, Any], hub: GitHost, step: Step
) -> dict[str, Any]:
    served = start(folder / "server", config, settings)
    try:
        return step(served, hub)
    finally:
        stop(served)


def mended(config: str, errors: Mapping[str, Any]) -> str:
    """Put the lines that the texts hold where they say: above the sources, or as one of them."""
    types = re.search(
        r"^skops_trusted_types = .*$", errors["SKOPS_UNTRUSTED_TYPES"].fix, re.MULTILINE
    )
    assert types, errors["SKOPS_UNTRUSTED_TYPES"].fix
    sources = (errors["FORMAT_NOT_TRUSTED"].fix, errors["SOURCE_NOT_ALLOWED"])
    lines = [re.search(r"\[\[sources\]\]\nurl = .*\ntrust = .*", text) for text in sources]
    return "\n".join([types[0], *(found[0] for found in lines if found), config])


def fail_all(served: Served, hub: GitHost) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    for reason, (name, files, *_) in CASES.items():
        repo = hub.create(name)
        repo.force(files)
        errors[reason] = served.failed(repo.url)
    hub.create("stranger").force({"model.onnx": doubling_graph()})
    with pytest.raises(grpc.RpcError) as caught:
        served.register(hub.url("stranger"))
    errors["SOURCE_NOT_ALLOWED"] = caught.value.details()
    hub.create("code-silent").force({"predict.py": SCRIPT})
    hub.status, hub.failing = 503, b"command=fetch"
    errors["REMOTE_UNREACHABLE"] = served.failed(hub.url("code-silent"))
    hub.status = 0
    return errors


def register_again(served: Served, hub: GitHost) -> dict[str, Any]:
    done = {
        reason: served.register(hub.url(name), retry=True)
        for reason, (name, *_) in {**CASES, "REMOTE_UNREACHABLE": ("code-silent",)}.items()
    }
    return {**done, "SOURCE_NOT_ALLOWED": served.register(hub.url("stranger"))}


@pytest.mark.reason(*CASES)
@pytest.mark.parametrize("reason", CASES)
def test_what_the_operator_can_change_cures_it(cured, reason: str):
    errors, done = cured
    _, _, said, fix = CASES[reason]
    assert reason == errors[reason].reason
    assert said in errors[reason].message
    assert fix in errors[reason].fix
    assert pb.DEPLOYMENT_STATE_READY == done[reason].state, str(done[reason].error)


@pytest.mark.reason("SOURCE_NOT_ALLOWED")
def test_the_lines_that_list_a_source(cured):
    assert pb.DEPLOYMENT_STATE_READY == cured[1]["SOURCE_NOT_ALLOWED"].state


@pytest.mark.reason("REMOTE_UNREACHABLE")
def test_a_host_that_answers_again(cured):
    error, done = cured[0]["REMOTE_UNREACHABLE"], cured[1]["REMOTE_UNREACHABLE"]
    assert "REMOTE_UNREACHABLE" == error.reason
    assert "register it again with --retry to try at once" in error.fix
    assert pb.DEPLOYMENT_STATE_READY == done.state
