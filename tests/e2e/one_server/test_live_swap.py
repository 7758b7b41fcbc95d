"""Versions are exchanged while clients call all the time: no call fails, answers change once."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.served import Served, until

ROW = models.iris_frame().iloc[0]
PAUSE = 0.002
"""Seconds between two calls of a caller: they leave the server time for what is tested."""


def tensor(model: str) -> pb.PredictRequest:
    return pb.PredictRequest(model=model, tensor=pb.Tensor(values=ROW.tolist()))


def table(model: str) -> pb.PredictRequest:
    columns = [
        pb.Column(name=name, doubles=pb.Doubles(values=[value]))
        for name, value in zip(["x0", "x1", "x2", "x3"], ROW, strict=True)
    ]
    return pb.PredictRequest(model=model, table=pb.Table(columns=columns))


def new_channel(address: str) -> grpc.Channel:
    """A connection of its own, not one shared in the process."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


@dataclass
class Caller:
    """Calls one model on one connection, hundreds of times a second, until it is told to stop."""

    channel: grpc.Channel
    request: pb.PredictRequest
    stopped: threading.Event
    answers: list[tuple[int, str]] = field(default_factory=list)
    failures: list[grpc.RpcError] = field(default_factory=list)

    def run(self) -> None:
        stub = pb_grpc.ModelServiceStub(self.channel)
        while not self.stopped.wait(PAUSE):
            try:
                reply = stub.Predict(self.request, timeout=20)
            except grpc.RpcError as error:
                self.failures.append(error)
                continue
            self.answers.append((reply.version, reply.outputs[0].strings.values[0]))

    def changes(self) -> list[tuple[int, str]]:
        """The different answers in the order in which they came, without repetition."""
        return [answer for answer, _ in itertools.groupby(self.answers)]


@contextlib.contextmanager
def calling(served: Served, requests: list[pb.PredictRequest]) -> Iterator[list[Caller]]:
    """Call on one connection for each request; at the end all have called once more."""
    stopped = threading.Event()
    callers = [Caller(new_channel(served.address), request, stopped) for request in requests]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        all_called(callers)
        yield callers
        all_called(callers)
    finally:
        stopped.set()
        for thread in threads:
            thread.join(30)
        for caller in callers:
            caller.channel.close()


def all_called(callers: list[Caller], calls: int = 5) -> None:
    """Wait until each caller has got some more answers."""
    before = [len(caller.answers) for caller in callers]
    until(
        lambda: all(
            len(caller.answers) >= old + calls or caller.failures
            for caller, old in zip(callers, before, strict=True)
        )
    )


def four_callers(model: str) -> list[pb.PredictRequest]:
    return [tensor(model), table(model), tensor(model), table(model)]


def answers_everywhere(served: Served, callers: list[Caller], version: int) -> None:
    """The next call on every connection, old and new, is answered by the version."""
    for caller in callers:
        reply = pb_grpc.ModelServiceStub(caller.channel).Predict(caller.request, timeout=20)
        assert version == reply.version
    for _ in range(8):  # more than there are frontends
        with new_channel(served.address) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            assert version == stub.Predict(callers[0].request, timeout=20).version


@pytest.fixture(params=[pytest.param("worker", marks=pytest.mark.long), "onnx"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def repo(served: Served, hub: GitHost, request: pytest.FixtureRequest, engine: str) -> Repo:
    """A model that answers "v1-…", live on an engine; named like the test."""
    test = request.node.originalname.removeprefix("test_").replace("_", "-")
    repo = hub.create(f"{test[:40]}-{engine}")
    repo.commit(models.answering_files("v1", engine))
    served.ready(repo.url)
    return repo


def name_of(repo: Repo) -> str:
    return repo.path.name.removesuffix(".git")


def test_a_push_goes_live_under_load(served: Served, repo: Repo, engine: str):
    """Twice over: version 2 is another model, version 3 is again of the first kind."""
    with calling(served, four_callers(name_of(repo))) as callers:
        for number in (2, 3):
            repo.commit(models.answering_files(f"v{number}", engine))
            served.ready(repo.url)
            answers_everywhere(served, callers, number)

    assert [] == [failure for caller in callers for failure in caller.failures]
    expected = [(1, "v1-setosa"), (2, "v2-setosa"), (3, "v3-setosa")]
    assert [expected] * 4 == [caller.changes() for caller in callers]


def test_pin_and_unpin_under_load(served: Served, repo: Repo, engine: str):
    """A rollback and its end are as smooth as a push."""
    model = name_of(repo)
    repo.commit(models.answering_files("v2", engine))
    served.ready(repo.url)
    with calling(served, four_callers(model)) as callers:
        served.stub.Pin(pb.PinRequest(model=model, version=1), timeout=10)
        moved_on(callers, 1)
        answers_everywhere(served, callers, 1)
        served.stub.Unpin(pb.UnpinRequest(model=model), timeout=10)
        moved_on(callers, 2)
        answers_everywhere(served, callers, 2)

    assert [] == [failure for caller in callers for failure in caller.failures]
    expected = [(2, "v2-setosa"), (1, "v1-setosa"), (2, "v2-setosa")]
    assert [expected] * 4 == [caller.changes() for caller in callers]


def moved_on(callers: list[Caller], version: int) -> None:
    until(lambda: all(version == caller.answers[-1][0] for caller in callers))


def test_onnx_to_worker_and_back_under_load(served: Served, hub: GitHost):
    """Engines differ between versions of one model; callers see nothing of it."""
    repo = hub.create("engines")
    script = {"model.onnx": None, **models.script_files("def predict(input): return input")}
    repo.commit(models.doubling_files())
    served.ready(repo.url)
    request = pb.PredictRequest(model="engines")
    request.rows.add().update({"x0": 1.0, "x1": 2.0})
    stopped = threading.Event()
    seen: list[int] = []
    failures: list[grpc.RpcError] = []

    def call() -> None:
        with new_channel(served.address) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            while not stopped.wait(PAUSE):
                try:
                    seen.append(stub.Predict(request, timeout=20).version)
                except grpc.RpcError as error:
                    failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        until(lambda: seen or failures)
        repo.commit(script)
        served.ready(repo.url)
        until(lambda: 2 in seen or failures)
        repo.commit({"predict.py": None, "test_data.json": None, **models.doubling_files()})
        served.ready(repo.url)
        until(lambda: 3 in seen or failures)
    finally:
        stopped.set()
        caller.join(30)
    assert [] == failures
    assert [1, 2, 3] == [number for number, _ in itertools.groupby(seen)]


def test_calls_in_flight_end_on_the_version_they_began_on(served: Served, hub: GitHost):
    repo = hub.create("slow")
    repo.commit(models.holding_files(1))
    served.ready(repo.url)
    old = served.stub.Get(pb.GetRequest(model="slow"), timeout=10).version

    in_flight = served.stub.Predict.future(holding(True), timeout=60)
    repo.commit(models.holding_files(2))
    served.ready(repo.url)

    assert (2, 2) == answer_of(served.stub.Predict(holding(False), timeout=20))
    assert not in_flight.done()
    models.release(served.data_dir, old.digest)
    assert (1, 1) == answer_of(in_flight.result())


def holding(hold: bool) -> pb.PredictRequest:
    request = pb.PredictRequest(model="slow")
    request.rows.add().update({"hold": hold})
    return request


def answer_of(reply: pb.PredictResponse) -> tuple[int, int]:
    return reply.version, int(reply.rows[0]["answer"])


@pytest.mark.parametrize("engine", ["worker"])
def test_an_unused_version_is_unloaded(served: Served, repo: Repo):
    """Its worker ends when nobody needs it any more."""
    name = name_of(repo)
    before = set(served.pids("worker"))
    first, second = (f"worker of {name} v{number}" for number in (1, 2))
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    until(lambda: f"stopped the {first}" in served.log.read_text())
    until(lambda: before - set(served.pids("worker")))
    assert 2 == served.predict(name, [ROW.tolist()]).version
    assert f"stopped the {second}" not in served.log.read_text()
