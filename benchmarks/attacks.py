"""Others' calls while somebody attacks: latency beside that of a quiet server, calls lost, memory.

Each attack is made again and again by a few callers: of models that harm whoever runs them (they
are in sources of a server that anyone can push to), and of connections that misbehave.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import arrivals
import footprint
import grpc
import models
import onnx
import processes
import pushing
import wires
from onnx import TensorProto, helper
from progress import Clock
from subjects import Subject

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

RATE = 500
"""Calls a second of the others."""
SECONDS = 6.0
"""Of one measurement: some attacks come in waves of seconds."""
CALLERS = 2
PATIENCE = 2
"""The server's predict_timeout, in seconds, so that several waves of hanging come in each run."""
STALLED = 64
LARGE = 16 * 2**20
"""The most that a request may have, in bytes."""
PART = 60_000
"""What a server takes of one before it says that there may be more."""

Attack = Callable[[str], None]
"""Attacks the server at an address for ever."""

SPINS = b"def predict(input):\n    while True:\n        pass\n"
LIES = b"""
import os

def predict(input):
    for fd in range(3, 64):
        try:
            os.write(fd, b"\\xff" * 4096)
        except OSError:
            pass
    return {"x": 1}
"""
LARGE_ANSWERS = b'def predict(input):\n    return {"x": [0] * 20_000_000}\n'


def sizes() -> bytes:
    """Give a graph that makes a tensor as large as its input says."""
    nodes = [
        helper.make_node("ReduceMax", ["X"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["whole", "axes"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["X", "sum"], ["Y"]),
    ]
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])
    answer = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 4])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    graph = helper.make_graph(nodes, "sizes", [given], [answer], [axes])
    opset = [helper.make_opsetid("", 17)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return model.SerializeToString()


HOSTILE = {
    "sizes": {"model.onnx": sizes()},
    "spins": {"predict.py": SPINS},
    "lies": {"predict.py": LIES},
    "answers": {"predict.py": LARGE_ANSWERS},
}
"""Repositories by name, beside the honest model's."""


def measure(root: Path, clock: Clock) -> dict[str, list[float]]:
    """Print a table; give the worst ratio of p99, calls that were lost, the largest process."""
    clock.say("others' calls during attacks")
    root.mkdir()
    honest = [("logistic", "onnx")]
    footprint.push(root, honest, footprint.FRONTENDS)
    with footprint.started(
        root, honest, footprint.FRONTENDS, predict_timeout=str(PATIENCE)
    ) as running:
        with grpc.insecure_channel(running.address) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            for name, files in HOSTILE.items():
                manifest = {"pushserve.toml": f'name = "{name}"\n'.encode()}
                pushing.deploy(stub, processes.repository(root, name, files | manifest))
        subject = Subject.of("others", running, wires.pushserve("onnx"))
        print(f"\nothers: {RATE} calls/s arriving, logistic, during attacks of {CALLERS} callers\n"
              f"{'attack':18} {'p50 us':>8} {'p99 us':>8} {'p99 / quiet':>12} {'lost':>6} "
              f"{'largest MB':>11}")  # fmt: skip
        ratios, lost, largest = [], 0, 0
        for name in ATTACKS:
            quiet = subject.arriving("logistic", RATE, SECONDS)
            with attacking(name, running.address):
                during = subject.arriving("logistic", RATE, SECONDS)
            largest = max(largest, *map(most_memory, processes.tree(running.pid)))
            ratios.append(during.p99 / quiet.p99)
            lost += during.failed
            print(f"{name:18} {during.p50:8,.0f} {during.p99:8,.0f} {ratios[-1]:12.2f} "
                  f"{during.failed:6} {largest / footprint.MB:11,.0f}", flush=True)  # fmt: skip
    return {
        "attack p99": [max(ratios)],
        "attack lost": [float(lost)],
        "attack memory": [largest / footprint.MB],
    }


@contextlib.contextmanager
def attacking(name: str, address: str) -> Iterator[None]:
    """Attack from processes of its own: in this one they would hold up who measures."""
    command = [sys.executable, __file__, name, address]
    attackers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) for _ in range(CALLERS)
    ]
    try:
        for one in attackers:
            assert one.stdout is not None
            assert one.stdout.readline() == b"ready\n"
        yield
    finally:
        for one in attackers:
            one.kill()
            one.communicate()


def most_memory(pid: int) -> int:
    """Give the most bytes that a process has ever had."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0


def calling(request: pb.PredictRequest) -> Attack:
    """Make the same call again and again, whatever comes of it."""

    def attack(address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            while True:
                with contextlib.suppress(grpc.RpcError):
                    stub.Predict(request, timeout=10)

    return attack


def stalling(address: str) -> None:
    """Hold connections whose request says that it is large, and ends after a part of it."""
    start = struct.pack(">BI", 0, LARGE) + bytes(PART)
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            one = arrivals.Connection(address, wires.pushserve("onnx").method, b"")
            stack.enter_context(one.socket)
            one.begin(start)
        waiting(address)


def waiting(_address: str) -> None:
    """Do nothing."""
    signal.pause()


def garbage(address: str) -> None:
    """Send bodies that are no message."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary("/pushserve.v1.ModelService/Predict")
        while True:
            with contextlib.suppress(grpc.RpcError):
                call(b"\xff" * 100_000, timeout=10)


def hanging_up(address: str) -> None:
    """Connect and go, again and again."""
    host, _, port = address.rpartition(":")
    while True:
        time.sleep(0.001)
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as one:
            one.sendall(b"PRI * HTTP/2.0\r\n\r\n")


def _row(model: str) -> pb.PredictRequest:
    request = pb.PredictRequest(model=model)
    request.rows.add().update({"a": 1.0})
    return request


_HUGE = pb.PredictRequest(model="sizes", tensor=pb.Tensor(shape=[1, 4], values=[2e9, 0, 0, 0]))
_MANY = pb.PredictRequest(
    model="logistic-onnx",
    tensor=pb.Tensor(shape=[100_000, 4], values=models.rows("logistic", 100_000).ravel().tolist()),
)

ATTACKS: dict[str, Attack] = {
    "nothing": waiting,
    "huge tensors": calling(_HUGE),
    "endless loops": calling(_row("spins")),
    "lying workers": calling(_row("lies")),
    "huge answers": calling(_row("answers")),
    "huge requests": calling(_MANY),
    "garbage": garbage,
    "stalled requests": stalling,
    "connections": hanging_up,
}
"""By name. The first shows what two measurements of a quiet server differ by."""


if __name__ == "__main__":
    print("ready", flush=True)
    ATTACKS[sys.argv[1]](sys.argv[2])
