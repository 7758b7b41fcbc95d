"""A whole server while graphs, texts and numbers that are made to harm it are asked for."""

import contextlib
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import graphs, models
from tests.fixtures.git_server import GitHost
from tests.fixtures.harmful_graphs import AT_RUN
from tests.fixtures.served import Served

MOST = 1_500 * 1024**2
"""No process of the server may ever have had more bytes than that."""
_HURRY = 20.0


@pytest.fixture(scope="module")
def good(served: Served, hub: GitHost) -> str:
    """An honest model beside the others."""
    repo = hub.create("good")
    repo.commit(models.doubling_files())
    served.ready(repo.url)
    return "good"


def register(served: Served, hub: GitHost, name: str, model, **files: bytes) -> pb.Version:
    """Take a graph live from a source of trust `data`."""
    repo = hub.create(name)
    extra = {f"{stem}.json": content for stem, content in files.items()}
    repo.commit({"model.onnx": model.SerializeToString(), **extra})
    served.ready(repo.url)
    return served.stub.Get(pb.GetRequest(model=name), timeout=_HURRY).version


def highest(served: Served) -> int:
    """Give the most that any process of the server has had in memory, in bytes."""
    found = []
    for pid in served.children():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            found += [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    assert len(found) > len(served.pids("frontend-"))
    return max(found)


def doubled(served: Served) -> list[float]:
    return list(served.predict("good", [[1.0, 2.0]]).outputs[0].doubles.values)


def outcome(served: Served, model: str, rows: list[list[float]]) -> grpc.StatusCode:
    try:
        served.predict(model, rows)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_size_that_a_value_decides_stays_in_its_worker(served: Served, hub: GitHost, good: str):
    """Six calls with two thousand million, and an honest model's calls meanwhile."""
    version = register(served, hub, "data-sizes", AT_RUN["ConstantOfShape"]())
    before = set(served.pids("frontend-"))
    codes: list[grpc.StatusCode] = []
    attack = [
        threading.Thread(
            target=lambda: codes.append(outcome(served, "data-sizes", [[2e9, 0.0, 0.0, 0.0]]))
        )
        for _ in range(6)
    ]

    for thread in attack:
        thread.start()
    answered = [doubled(served)]
    while any(thread.is_alive() for thread in attack):
        answered.append(doubled(served))
    for thread in attack:
        thread.join()

    assert pb.ENGINE_WORKER == version.engine
    assert "ConstantOfShape whose size depends on values" in version.engine_reason
    assert [[2.0, 4.0]] * len(answered) == answered
    assert 6 == len(codes)
    assert grpc.StatusCode.UNKNOWN not in codes
    assert before == set(served.pids("frontend-"))
    assert highest(served) < MOST


def test_a_worker_answers_what_it_can(served: Served, hub: GitHost):
    register(served, hub, "data-small", AT_RUN["ConstantOfShape"]())

    answer = served.predict("data-small", [[3.0, 1.0, 1.0, 1.0]])

    assert [6.0, 4.0, 4.0, 4.0] == pytest.approx(list(answer.outputs[0].doubles.values))


def test_an_input_cannot_end_a_frontend_by_a_division(served: Served, hub: GitHost, good: str):
    """The least whole number by -1 is SIGFPE: of a worker, which is started again."""
    example = b'[{"input": {"X": 6, "D": 3}}]'
    register(served, hub, "data-divided", AT_RUN["Div by an input"](), examples=example)
    before = set(served.pids("frontend-"))
    table = pb.Table(
        columns=[
            pb.Column(name="X", ints=pb.Int64s(values=[-(2**63)])),
            pb.Column(name="D", ints=pb.Int64s(values=[-1])),
        ]
    )

    with pytest.raises(grpc.RpcError):
        served.stub.Predict(pb.PredictRequest(model="data-divided", table=table), timeout=_HURRY)

    assert before == set(served.pids("frontend-"))
    assert [2.0, 4.0] == doubled(served)


def doubles_of(served: Served, model: str, rows: list[list[float]]) -> list[float]:
    return list(served.predict(model, rows).outputs[0].doubles.values)


def product(side: int):
    """A graph of doubles that multiplies by a matrix which changes nothing."""
    return graphs.graph(
        [graphs.node("MatMul", "X one", "Y")],
        [graphs.constant("one", np.eye(side), "f8")],
        takes=[graphs.value("X", graphs.DOUBLE, [None, side])],
        gives=[graphs.value("Y", graphs.DOUBLE, [None, side])],
    )


def test_denormals_are_kept_where_there_is_little_to_do(served: Served, hub: GitHost):
    version = register(served, hub, "data-little", product(1))

    assert pb.ENGINE_ONNX == version.engine
    assert [1e-310, 5e-324] == doubles_of(served, "data-little", [[1e-310], [5e-324]])


def test_denormals_are_zeros_where_there_is_much_to_do(served: Served, hub: GitHost):
    """A processor may take a hundred times as long for them; the answer is off by 1e-310."""
    version = register(served, hub, "data-much", product(200))
    row = [1e-310, 1e-300, *[0.0] * 198]

    few = doubles_of(served, "data-much", [row])
    many = doubles_of(served, "data-much", [row] * 2000)

    assert pb.ENGINE_ONNX == version.engine
    assert [0.0, 1e-300, *[0.0] * 198] == few
    assert few * 2000 == many
