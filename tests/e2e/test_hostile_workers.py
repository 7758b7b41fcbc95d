"""Models whose code hangs, lies or answers too much: who calls them is told, others see nothing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, start, stop, until

ROW = [[5.1, 3.5, 1.4, 0.2]]
PATIENCE = 2
MODEL = """
import os
import socket
import struct

from pushserve_sandbox.worker import frontend_connection, main

ANSWERS = {
    "beyond float64": lambda: {"x": 10**400},
    "deep lists": lambda: {"x": nested(60)},
    "no text": lambda: {"x": "\\ud800"},
    "a list": lambda: [1],
    "no JSON": lambda: {"x": object()},
}


def nested(depth):
    return [nested(depth - 1)] if depth else 1


def say_everywhere(data):
    for fd in range(3, 64):
        try:
            sock = socket.socket(fileno=os.dup(fd))
            if sock.getsockname():  # a frontend's, or the supervisor's; not the channel
                sock.send(data)
        except OSError:
            pass


def predict(input):
    if input.get("hang"):
        while True:
            pass
    if input.get("mute"):
        main.Server._greet = lambda *_: None
    if input.get("deaf"):
        frontend_connection.Connection.read = lambda _: []
    if input.get("lie"):
        say_everywhere(struct.pack("<IIBxxx", 1 << 30, 1, 4) + bytes(100_000))
    if input.get("give"):
        return ANSWERS[input["give"]]()
    return {"x": [0] * int(input.get("size", 1))}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """One frontend that waits for a worker for two seconds, and a model of each kind."""
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    settings = {"frontends": 1, "predict_timeout": PATIENCE}
    server = start(tmp_path_factory.mktemp("server"), sources, settings)
    for name, files in (
        ("hostile", models.script_files(MODEL)),
        ("good", models.answering_files("v1")),
    ):
        repo = hub.create(name)
        repo.commit(files)
        server.ready(repo.url)
    yield server
    stop(server)


def request(model: str = "hostile", **fields: object) -> pb.PredictRequest:
    made = pb.PredictRequest(model=model)
    made.rows.add().update(fields)
    return made


def answers(served: Served) -> bool:
    """Whether the hostile model answers what is no trick."""
    return is_up(lambda: [0] == list(served.stub.Predict(request(), timeout=20).rows[0]["x"]))


def is_up(ask: Callable[[], bool]) -> bool:
    """Whether it is so; False where the worker that is asked is being started again."""
    try:
        return ask()
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return False
        raise


def reason(error: grpc.RpcError) -> str:
    info = details_pb.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return info.reason


def frontend_size(served: Served) -> int:
    """The most that the frontend has taken so far, in bytes."""
    (pid,) = served.pids("frontend-")
    return memory_of(pid)


def memory_of(pid: int) -> int:
    """The most that a process has taken so far, in bytes; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    _, found, size = status.partition("VmHWM:")
    return int(size.split()[0]) * 1024 if found else 0


def ended(served: Served, what: str) -> int:
    """How many workers of the hostile model were killed for this, as the log says."""
    return sum(
        "a worker of hostile v1 (process" in line and what in line
        for line in served.log.read_text().splitlines()
    )


def test_one_input_on_which_a_model_hangs(served: Served):
    """All who wait are told why, as is the log; another model answers, and soon this one again."""
    waiting = [served.stub.Predict.future(request(hang=True), timeout=60)]
    (hostile,) = {line[0] for line in _busy(served)}
    waiting.append(served.stub.Predict.future(request(), timeout=60))
    assert 1 == served.predict("good", ROW).version
    for call in waiting:
        error = call.exception()
        assert (grpc.StatusCode.UNAVAILABLE, "WORKER_HUNG") == (error.code(), reason(error))
        expected = "the worker of hostile v1 did not answer for 2 s; it is being started again"
        assert expected == error.details()
    until(lambda: not Path(f"/proc/{hostile}").exists())
    assert ended(served, "did not answer for 2 s")
    until(lambda: answers(served))


def _busy(served: Served) -> list[tuple[int, float]]:
    """The workers that take processor time: waits until there is one."""

    def look() -> list[tuple[int, float]]:
        return [(pid, t) for pid in served.pids("worker") if (t := _cpu(pid) - before[pid]) > 0.1]

    before = {pid: _cpu(pid) for pid in served.pids("worker")}
    found: list[tuple[int, float]] = until(look)
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("trick", ["mute", "deaf"])
@pytest.mark.long
def test_a_worker_that_is_awake_and_does_not_answer(served: Served, trick: str):
    """Nobody calls it any more: the supervisor asks."""
    until(lambda: answers(served))
    before = ended(served, "did not answer for 2 s")
    served.stub.Predict(request(**{trick: True}), timeout=20)
    until(lambda: ended(served, "did not answer for 2 s") > before)
    until(lambda: answers(served))


def test_a_worker_that_is_stopped(served: Served):
    before = set(served.pids("worker"))
    assert before
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: not before & set(served.pids("worker")))
    until(lambda: answers(served))
    until(lambda: is_up(lambda: served.predict("good", ROW).version == 1))


def test_a_worker_that_sends_what_nobody_asked_for(served: Served):
    """Who called it is told; the frontend takes none of the announced gibibyte."""
    until(lambda: answers(served))
    before = frontend_size(served)
    with pytest.raises(grpc.RpcError) as caught:
        served.stub.Predict(request(lie=True), timeout=20)
    assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
    assert "WORKER_BROKEN" == reason(caught.value)
    assert 1 == served.predict("good", ROW).version
    until(lambda: answers(served))
    assert frontend_size(served) < before + 64 * 2**20
    until(lambda: ended(served, "sent what was not asked for"))


def test_an_answer_that_is_too_large(served: Served):
    """Its caller alone is told; the frontend never sees it."""
    until(lambda: answers(served))
    before = frontend_size(served)
    large = served.stub.Predict.future(request(size=20_000_000), timeout=60)
    small = [served.stub.Predict.future(request(), timeout=60) for _ in range(5)]
    error = large.exception()
    assert grpc.StatusCode.FAILED_PRECONDITION == error.code()
    assert "ANSWER_TOO_LARGE" == reason(error)
    assert "more than 16777216 bytes" in error.details()
    assert [[0]] * 5 == [list(call.result().rows[0]["x"]) for call in small]
    assert frontend_size(served) < before + 64 * 2**20


@pytest.mark.parametrize(
    ("give", "says"),
    [
        ("beyond float64", "a whole number is beyond float64"),
        ("deep lists", "nested too deep: 33 objects in each other are the most, or 48 lists"),
        ("no text", "half of a surrogate pair"),
        ("a list", "a row's result is an object (dict); this is builtins.list"),
        ("no JSON", "builtins.object is not a JSON value"),
    ],
)
@pytest.mark.long
def test_an_answer_that_cannot_be_sent(served: Served, give: str, says: str):
    until(lambda: answers(served))
    with pytest.raises(grpc.RpcError) as caught:
        served.stub.Predict(request(give=give), timeout=20)
    assert grpc.StatusCode.FAILED_PRECONDITION == caught.value.code()
    assert "ANSWER_INVALID" == reason(caught.value)
    assert says in caught.value.details()


def test_a_large_answer_that_may_be_given(served: Served):
    """5 MiB of numbers, each of which a caller gets."""
    until(lambda: answers(served))
    channel = grpc.insecure_channel(served.address, [("grpc.max_receive_message_length", -1)])
    with channel:
        reply = pb.PredictResponse.FromString(
            channel.unary_unary("/pushserve.v1.ModelService/Predict")(
                request(size=500_000).SerializeToString(), timeout=60
            )
        )
    values = reply.rows[0].fields["x"].list_value.values
    assert 500_000 == len(values)
    assert {0.0} == {value.number_value for value in values}


TRICKS = [
    {"hang": True},
    {"lie": True},
    {"size": 20_000_000},
    {"give": "no text"},
    {"give": "beyond float64"},
    {"mute": True},
]


def test_no_call_of_another_model_is_lost_meanwhile(served: Served):
    """While a model hangs, lies, answers too much and is started again; nor does memory grow."""
    stopping = threading.Event()
    answered: list[int] = []
    failed: list[grpc.RpcError] = []

    def call_the_good_one() -> None:
        while not stopping.wait(0.005):
            try:
                answered.append(served.predict("good", ROW).version)
            except grpc.RpcError as error:
                failed.append(error)

    callers = [threading.Thread(target=call_the_good_one) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for trick in TRICKS:
            until(lambda: answers(served))
            before = len(answered)
            calls = [served.stub.Predict.future(request(**trick), timeout=30) for _ in range(3)]
            for call in calls:
                call.exception()
            until(lambda: len(answered) > before)  # noqa: B023 (called at once)
    finally:
        stopping.set()
        for caller in callers:
            caller.join()
    assert [] == failed
    assert {1} == set(answered)
    largest = max(map(memory_of, [served.process.pid, *served.children()]))
    assert largest < 1.5 * 2**30


def test_every_process_of_a_model_gets_calls(served: Served, hub: GitHost):
    """One frontend and three workers: three calls are worked on at a time."""
    code = """
import os
import time

HERE = os.path.dirname(__file__)

def predict(input):
    while input["hold"] and not os.path.exists(os.path.join(HERE, "release")):
        time.sleep(0.01)
    return {"pid": os.getpid()}
"""
    repo = hub.create("three")
    files = models.script_files(code, {"hold": False})
    repo.commit({**files, "pushserve.toml": "workers = 3\n"})
    served.ready(repo.url)
    mine: set[int] = set()
    until(lambda: mine.add(_pid(served)) or len(mine) >= 3)
    digest = served.stub.Get(pb.GetRequest(model="three"), timeout=10).version.digest
    calls = [served.stub.Predict.future(request("three", hold=True), timeout=60) for _ in range(3)]
    models.release(served.data_dir, digest)
    assert mine == {int(call.result().rows[0]["pid"]) for call in calls}


def _pid(served: Served) -> int:
    reply = served.stub.Predict(request("three", hold=False), timeout=20)
    return int(reply.rows[0]["pid"])
