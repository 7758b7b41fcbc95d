"""Processes are killed, ports are taken, bundles are lost: what is served goes on."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.served import BIN, Served, start, stop, until

ROW = [[5.1, 3.5, 1.4, 0.2]]
MOST_AT_A_TIME = 8
ZERO_DIVISION = "predict.py cannot be run: ZeroDivisionError: the vocabulary is empty"
SLOW = """
import time

def predict(input):
    time.sleep(0.02)
    return {"x": input["x"]}
"""


def sources(hub: GitHost) -> str:
    return f'[[sources]]\nurl = "{hub.address}/**"\ntrust = "code"\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """A server whose patience is short."""
    settings = {"lease": 2, "load_timeout": 6, "max_concurrent": MOST_AT_A_TIME}
    server = start(tmp_path_factory.mktemp("server"), sources(hub), settings)
    yield server
    stop(server)


@pytest.fixture
def alone(tmp_path: Path, hub: GitHost) -> Iterator[Served]:
    """A server for one test, which may stop it; one frontend."""
    server = start(tmp_path / "server", sources(hub), {"frontends": 1, "max_wait": 0.3})
    yield server
    stop(server)


def holding(model: str, hold: bool = True) -> pb.PredictRequest:
    request = pb.PredictRequest(model=model)
    request.rows.add().update({"hold": hold})
    return request


def held(served: Served, repo: Repo, answer: int = 1) -> str:
    """Take a model of `holding_files` live; give its bundle's digest.

    What releases one releases all with the same answer: they have one bundle.
    """
    repo.commit(models.holding_files(answer))
    served.ready(repo.url)
    version = served.stub.Get(pb.GetRequest(model=repo.name), timeout=10).version
    return str(version.digest)


def hold_one(served: Served, model: str, worker: int) -> grpc.Future:
    """Start a call that is held, and return when the worker holds it: it polls for release."""
    before = switches(worker)
    call = served.stub.Predict.future(holding(model), timeout=60)
    until(lambda: switches(worker) > before + 20)
    return call


def switches(pid: int) -> int:
    """How often a process has waited for something."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def retry_delay(error: grpc.RpcError) -> float | None:
    """Give the seconds of RetryInfo, None where there is none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = details_pb.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_worker(served: Served, hub: GitHost):
    """Its call in flight may be repeated, which the answer says; later ones wait and succeed."""
    until(served.is_settled)
    others = set(served.pids("worker"))
    repo = hub.create("killed-worker")
    held(served, repo)
    until(lambda: len(set(served.pids("worker")) - others) == 1)
    (worker,) = set(served.pids("worker")) - others
    call = hold_one(served, "killed-worker", worker)
    kill(worker)
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
    assert retry_delay(caught.value) is not None
    reply = served.stub.Predict(holding("killed-worker", hold=False), timeout=30)
    assert 1 == reply.rows[0]["answer"]


@pytest.mark.long
def test_a_request_that_ends_its_worker(served: Served, hub: GitHost):
    """Who sent it is told to try again later; the others are answered."""
    repo = hub.create("poisoned")
    code = """
import os

def predict(input):
    if input.get("end"):
        os._exit(3)
    return {"fine": True}
"""
    repo.commit(models.script_files(code))
    served.ready(repo.url)
    poison, good = pb.PredictRequest(model="poisoned"), pb.PredictRequest(model="poisoned")
    poison.rows.add().update({"end": True})
    good.rows.add().update({"x": 1})
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            served.stub.Predict(poison, timeout=30)
        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
        assert served.stub.Predict(good, timeout=30).rows[0]["fine"]


def test_a_killed_frontend(served: Served, repo: Repo):
    """Callers see UNAVAILABLE at the worst, never that a model is not there."""
    stopped = threading.Event()
    codes: set[str] = set()

    def call() -> None:
        while not stopped.is_set():
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(served.address, options) as channel:
                request = pb.PredictRequest(
                    model=repo.name, tensor=pb.Tensor(shape=[1, 4], values=ROW[0])
                )
                try:
                    pb_grpc.ModelServiceStub(channel).Predict(request, timeout=20)
                except grpc.RpcError as error:
                    codes.add(error.code().name)
                else:
                    codes.add("OK")

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(2):
            listening = served.log.read_text().count("answering on")
            before = served.pids("frontend-")
            kill(before[0])
            until(lambda old=listening: served.log.read_text().count("answering on") > old)
            until(lambda: len(served.pids("frontend-")) == 2)
    finally:
        stopped.set()
        for caller in callers:
            caller.join(30)
    assert codes <= {"OK", "UNAVAILABLE"}
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    for _ in range(8):
        with grpc.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)]) as new:
            request = pb.PredictRequest(model=repo.name, tensor=pb.Tensor(values=ROW[0]))
            assert 2 == pb_grpc.ModelServiceStub(new).Predict(request, timeout=20).version


def answers(served: Served, repo: Repo) -> int:
    """The version that answers; 0 where none does just now."""
    try:
        return served.predict(repo.name, ROW).version
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return 0
        raise


def test_a_killed_zygote(served: Served, repo: Repo):
    """Its workers end with it; all of them, and builds, come back."""
    (zygote,) = served.pids("pushserve_sandbox")
    workers = served.pids("worker")
    assert workers
    kill(zygote)
    until(lambda: not set(workers) & set(served.pids("worker")))
    until(lambda: answers(served, repo) == 1)
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    assert 2 == answers(served, repo)


def test_a_deployer_killed_while_it_builds(served: Served, hub: GitHost):
    """Another one takes the same deployment when the lease has run out."""
    repo = hub.create("taken-again")
    files = models.holding_files(1)
    repo.commit({**files, "test_data.json": '{"hold": true}'})
    reply = served.stub.Register(pb.RegisterRequest(source=repo.url), timeout=20)
    name = reply.deployment.name
    until(lambda: state_of(served, name) == pb.DEPLOYMENT_STATE_BUILDING)
    workplaces = set(served.data_dir.glob(".work-*"))
    (deployer,) = served.pids("deployer")
    kill(deployer)

    def builds_again() -> set[Path]:
        return {
            place
            for place in set(served.data_dir.glob(".work-*")) - workplaces
            if (place / "model" / "predict.py").exists()
        }

    for place in until(builds_again):
        (place / "model" / "release").touch()
    deployment = served.follow(name)
    assert pb.DEPLOYMENT_STATE_READY == deployment.state, deployment
    assert deployer not in served.pids("deployer")


def state_of(served: Served, name: str) -> pb.DeploymentState:
    request = pb.GetDeploymentRequest(name=name)
    return served.stub.GetDeployment(request, timeout=10).deployment.state


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise ZeroDivisionError('the vocabulary is empty')", ZERO_DIVISION),
        ("open(__file__ + '.lost')", "FileNotFoundError: [Errno 2] No such file or directory: "),
        ("os._exit(3)", "its process ended while it loaded the model (code 3 after"),
        ("os.kill(os.getpid(), 11)", "its process ended while it loaded the model (signal 11 "),
    ],
    ids=["raises", "lost-file", "exits", "crashes"],
)
@pytest.mark.long
def test_a_version_that_passed_its_gate_and_cannot_be_loaded(
    served: Served, hub: GitHost, statement: str, said: str, request: pytest.FixtureRequest
):
    """Its deployment fails at once, with the worker's reason; the last good version stays."""
    repo = hub.create(f"unloadable-{request.node.callspec.id}")
    repo.commit(models.script_files("def predict(input):\n    return {'fine': True}\n"))
    served.ready(repo.url)
    code = f"""
import os

print("running {repo.name}")
if "/bundles/" in __file__:
    {statement}

def predict(input):
    return {{"fine": True}}
"""
    repo.commit({"predict.py": code})
    deployment = served.register(repo.url)
    error = deployment.error
    assert ("LOAD_FAILED", pb.DEPLOYMENT_STATE_LOADING) == (error.reason, error.step)
    assert said in error.message
    assert str(served.data_dir) not in error.message
    log = served.log.read_text()
    for job in (f"commit={deployment.commit[:12]}", "version=2"):  # the build, the worker
        who = f"model={repo.name} {job} deployment={deployment.name}"
        assert re.search(rf"{who} pid=\d+: running {repo.name}\n", log)
    asked = pb.PredictRequest(model=repo.name)
    asked.rows.add().update({"x": 1})
    assert 1 == served.stub.Predict(asked, timeout=20).version


def test_more_calls_than_a_frontend_works_on(served: Served, hub: GitHost):
    """Those that are too many are told at once when to try again."""
    repo = hub.create("overloaded")
    digest = held(served, repo)
    calls = [
        served.stub.Predict.future(holding("overloaded"), timeout=60)
        for _ in range(MOST_AT_A_TIME + 3)
    ]
    refused = until(lambda: done if len(done := [c for c in calls if c.done()]) == 3 else None)
    for call in refused:
        with pytest.raises(grpc.RpcError) as caught:
            call.result()
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
        assert retry_delay(caught.value) is not None
    models.release(served.data_dir, digest)
    answered = [call.result().rows[0]["answer"] for call in calls if call not in refused]
    assert [1] * MOST_AT_A_TIME == answered


@pytest.mark.long
def test_more_calls_than_a_model_can_answer_in_time(alone: Served, hub: GitHost):
    """A model of 50 calls a second: those that would wait too long are refused, others answered."""
    repo = hub.create("slow")
    repo.commit(models.script_files(SLOW))
    alone.ready(repo.url)

    def call(number: int) -> grpc.Future:
        request = pb.PredictRequest(model="slow")
        request.rows.add().update({"x": number})
        return alone.stub.Predict.future(request, timeout=60)

    calls: list[grpc.Future] = []

    def is_refused() -> bool:
        calls.extend([call(len(calls) + i) for i in range(20)])
        return any(c.done() and c.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for c in calls)

    until(is_refused)
    codes = [c.code() for c in calls]
    assert {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED} == set(codes)
    for number, (one, code_) in enumerate(zip(calls, codes, strict=True)):
        if code_ == grpc.StatusCode.OK:
            assert number == one.result().rows[0]["x"]
        else:
            assert (retry_delay(one.exception()) or 0) > 0
    assert 1 == call(1).result().rows[0]["x"]


@pytest.mark.long
def test_a_port_and_a_data_dir_that_are_taken(served: Served, tmp_path: Path):
    """Each is named, with what to do."""
    environment = {**os.environ, "PUSHSERVE_DATA_DIR": str(tmp_path)}
    for changed, said in (
        ({"PUSHSERVE_LISTEN": served.address}, f"cannot listen on {served.address}"),
        ({"PUSHSERVE_DATA_DIR": str(served.data_dir)}, str(served.data_dir)),
    ):
        done = subprocess.run(
            [BIN / "pushserve", "serve"],
            env={**environment, "PUSHSERVE_LISTEN": "127.0.0.1:0", **changed},
            capture_output=True,
            check=False,
            timeout=60,
        )
        text = " ".join((done.stderr + done.stdout).decode().split())
        assert 1 == done.returncode
        assert said in text.replace("\n", "")
        assert "Traceback" not in text


@pytest.mark.long
def test_calls_that_outlast_the_drain_are_ended_and_the_server_stops_cleanly(
    tmp_path: Path, hub: GitHost
):
    server = start(tmp_path / "server", sources(hub), {"frontends": 1, "drain_timeout": 0.5})
    try:
        repo = hub.create("outlasting")
        held(server, repo)
        (worker,) = server.pids("worker")
        call = hold_one(server, "outlasting", worker)
        (frontend,) = server.pids("frontend-")
        server.process.send_signal(signal.SIGTERM)
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert 0 == server.process.wait(30)
        assert not Path(f"/proc/{frontend}").exists()
        log = server.log.read_text()
        assert "Check failed" not in log
        assert "Traceback" not in log
    finally:
        stop(server)


def new_calls_are_refused(served: Served) -> bool:
    with grpc.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            pb_grpc.ModelServiceStub(channel).List(pb.ListRequest(), timeout=5)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAVAILABLE)
        return False


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_server_starts_again_from_its_registry(tmp_path: Path, hub: GitHost):
    """Even while the Git host is down; and bundles that are lost are built again from Git."""
    data_dir = tmp_path / "server"
    first = start(data_dir, sources(hub), {"frontends": 1})
    try:
        repo = hub.create("survivor")
        repo.commit(models.answering_files("v1"))
        first.ready(repo.url)
        run_dir, children = first.run_dir, first.children()
    finally:
        kill(first.process.pid)
        first.process.wait()
        first.channel.close()
    until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])

    hub.status = 503
    try:
        second = start(data_dir, sources(hub), {"frontends": 1})
        try:
            assert 1 == second.predict("survivor", ROW).version
            assert not run_dir.exists()
        finally:
            stop(second)
    finally:
        hub.status = 0

    shutil.rmtree(data_dir / "bundles")
    shutil.rmtree(data_dir / "mirrors", ignore_errors=True)
    third = start(data_dir, sources(hub), {"frontends": 1})
    try:
        assert 1 == until(lambda: answers(third, repo))
    finally:
        stop(third)


def test_sigterm_lets_calls_in_flight_end(served: Served, hub: GitHost):
    """Last of those that use this server. Whatever signals come after the first change nothing."""
    until(served.is_settled)
    others = set(served.pids("worker"))
    repo = hub.create("drained")
    digest = held(served, repo, answer=2)
    run_dir, children = served.run_dir, served.children()
    (worker,) = until(lambda: set(served.pids("worker")) - others)
    call = hold_one(served, "drained", worker)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        served.process.send_signal(number)
    until(lambda: "calls in flight are finished first" in served.log.read_text())
    until(lambda: new_calls_are_refused(served))
    assert not call.done()
    models.release(served.data_dir, digest)
    assert 2 == call.result().rows[0]["answer"]
    assert 0 == served.process.wait(30)
    until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()], 10)
    assert not run_dir.exists()
    assert not (served.data_dir / "server.json").exists()
