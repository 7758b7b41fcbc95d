"""Each distribution's wheel, in a clean environment, against a real server."""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.github import deliver, push_event
from tests.fixtures.served import Served, start, stop
from tests.fixtures.shares import share
from tests.fixtures.wheels import ROOT, Environment, Install, lend_bytecode, python_of

pytestmark = pytest.mark.slow

CALLS = Path(__file__).with_name("client_calls.py")
NOT_INSTALLED = (
    ("serve", "pushserve"),
    ("config", "pushserve"),
    ("webhook", "pushserve-webhook"),
    ("doctor", "pushserve"),
)
"""Commands of the client's program, and the distributions that they come with."""
IRIS = {"model.joblib": models.dumped(models.iris_forest())}
ROWS = models.iris_frame().iloc[[0, 60, 140]].to_numpy()
CHANCES = models.iris_forest().predict_proba(models.iris_frame().iloc[[0, 60, 140]])


@pytest.fixture(scope="module")
def complete(wheels: dict[str, Path], install: Install) -> Environment:
    """What `pip install pushserve` leaves."""
    environment = install("--constraint", ROOT / "requirements.lock", *wheels.values())
    lend_bytecode(environment)
    return environment


@pytest.fixture(scope="module")
def server(
    complete: Environment, hub: GitHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The server of that environment, for all tests."""
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    server = start(
        tmp_path_factory.mktemp("server"), sources, {"frontends": 1}, program=complete.program
    )
    yield server
    stop(server)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def iris(server: Served, hub: GitHost) -> str:
    """The server's address, when it has a forest named iris."""
    repo = hub.create("iris")
    repo.commit(IRIS)
    server.ready(repo.url)
    return server.address


def insist_that_calls_work(environment: Environment, address: str, *imports: str) -> None:
    """Every kind of call gives scikit-learn's own numbers, and errors with their details."""
    rows = json.dumps(ROWS.tolist())
    done = environment.run(environment.python, CALLS, address, rows, *imports)
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)

    client, aio, stub = found["client"], found["aio"], found["stub"]
    for chances in (client["unary"], client["pickled"], aio["unary"], *aio["stream"]):
        assert np.allclose(CHANCES, chances, rtol=0, atol=1e-6)
    assert np.allclose(CHANCES[:1], client["stream"][0], rtol=0, atol=1e-6)
    assert np.allclose(CHANCES[1:], client["stream"][1], rtol=0, atol=1e-6)
    assert list(CHANCES.shape) == stub["shape"]
    assert np.allclose(CHANCES.ravel(), stub["values"], rtol=0, atol=1e-6)
    assert ["READY"] == client["states"]
    assert client["serving"]
    assert aio["serving"]
    assert ["NotFound", "MODEL_NOT_FOUND", "no-such-model", []] == client["not found"]
    kind, _, _, fields = client["bad column"]
    assert "InvalidArgument" == kind
    assert "petal width (cm)" in fields


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], install: Install) -> Environment:
    """What `pip install pushserve-client` leaves, .pyc files too."""
    return install("--compile-bytecode", wheels["pushserve-client"])


def test_the_client_alone_is_small(alone: Environment):
    """Under 60 MB. NumPy by itself is more."""
    files = [path for path in alone.packages.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < 60e6


def test_the_command_alone_talks_to_a_server(alone: Environment, iris: str):
    """Without NumPy, also in `predict`."""
    rows = [dict(zip(models.iris_frame().columns, row, strict=True)) for row in ROWS]
    options = ("--server", iris, "--data", json.dumps(rows), "--format", "json")

    listed = alone.run(alone.program, "--server", iris, "list")
    predicted = alone.run(alone.program, "predict", "iris", *options)

    assert "iris" in listed.stdout, listed.stderr
    outputs = json.loads(predicted.stdout)["outputs"]
    assert np.allclose(CHANCES, outputs["probabilities"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("named", share(NOT_INSTALLED, 2))
def test_what_is_not_installed_is_named(alone: Environment, named: tuple[str, str]):
    """With what to install."""
    command, distribution = named
    done = alone.run(alone.program, command)

    assert 1 == done.returncode
    assert f"`pushserve {command}` is not installed here" in done.stderr
    assert f"pip install {distribution}\n" in done.stderr


def test_the_contract_comes_along(alone: Environment):
    """Users make stubs for other languages of it."""
    name = "pushserve/v1/model_service.proto"

    assert (ROOT / "protos" / name).read_bytes() == (alone.packages / name).read_bytes()


def test_the_licence_comes_along(wheels: dict[str, Path]):
    """In each distribution, whole, under the name that its metadata give."""
    for wheel in wheels.values():
        with ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/licenses/LICENSE"))
            metadata = archive.read(f"{name.partition('/')[0]}/METADATA").decode()
            assert (ROOT / "LICENSE").read_bytes() == archive.read(name)
        assert "\nLicense-Expression: Apache-2.0\nLicense-File: LICENSE\n" in metadata


def test_with_the_newest_of_everything(iris, wheels, install):
    insist_that_calls_work(
        install(f"pushserve-client[numpy] @ {wheels['pushserve-client'].as_uri()}"), iris
    )


@pytest.mark.long
def test_with_the_oldest_of_everything(iris, wheels, install):
    """Each requirement's lower bound, on the oldest Python that is here."""
    wheel = wheels["pushserve-client"]
    metadata = next(iter(Distribution.discover(name="pushserve-client", path=[str(wheel)])))
    asked = [Requirement(line) for line in metadata.requires]
    lowest = [f"{requirement.name}{requirement.specifier}" for requirement in asked]
    options = ("--resolution", "lowest-direct", "--only-binary", ":all:")
    python = python_of("3.9") or python_of("3.10") or sys.executable

    environment = install(*options, wheel, *lowest, python=python)

    assert {"grpcio", "protobuf", "typer", "rich", "numpy"} == {one.name for one in asked}
    assert ((1, 49), (4, 25)) == (environment.version("grpcio"), environment.version("protobuf"))
    insist_that_calls_work(environment, iris)
    listed = environment.run(environment.program, "get", "iris", "--server", iris)
    assert "petal width (cm)" in listed.stdout, listed.stderr


@pytest.mark.parametrize(
    ("other", "module"), [("tritonclient[grpc]", "tritonclient.grpc"), ("mlflow-skinny", "mlflow")]
)
@pytest.mark.long
def test_beside_others(iris, wheels, install, other, module):
    """Both in one process."""
    environment = install(wheels["pushserve-client"], other)

    insist_that_calls_work(environment, iris, module)


@pytest.mark.long
def test_the_client_beside_the_server(iris, complete):
    """One environment, one descriptor of the contract."""
    insist_that_calls_work(
        complete, iris, "pushserve_server.api.server", "grpc_health.v1.health_pb2"
    )


def test_the_server_examines_its_machine(complete):
    """Also the sandbox, in a process of its own."""
    done = complete.run(complete.program, "doctor")

    assert "Landlock and seccomp work" in done.stdout, done.stderr


def insist_that_an_event_goes_live(environment: Environment, server: Served, repo: Repo) -> None:
    """Sent, signed, to the webhook of an environment."""
    commit = repo.commit(IRIS)
    webhook = server.webhook(program=environment.program)

    status, answer = deliver(webhook, push_event(repo, after=commit))

    assert 202 == status, answer
    assert pb.DEPLOYMENT_STATE_READY == server.follow(answer["deployment"]).state


def test_the_webhook_comes_with_the_server(server: Served, hub: GitHost, complete: Environment):
    insist_that_an_event_goes_live(complete, server, hub.create("hooked-beside"))


@pytest.mark.long
def test_the_webhook_without_the_server(server: Served, hub: GitHost, wheels, install):
    environment = install(wheels["pushserve-client"], wheels["pushserve-webhook"])

    assert not (environment.packages / "pushserve_server").exists()
    insist_that_an_event_goes_live(environment, server, hub.create("hooked-alone"))
