"""What a server takes to start, and of memory, when it is alone on the machine.

Memory is the proportional set size of all its processes: pages that it shares with another
server would count half.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import models
import processes
import pushing
import summary
import wires
from progress import Clock
from subjects import Running, Subject

from pushserve.v1 import model_service_pb2_grpc as pb_grpc

FRONTENDS = 2
"""What the project's figure for memory is about."""
CALLERS = 64
MB = 1e6

Served = Sequence[tuple[str, str]]
"""Models and the engines that they run on."""


@dataclass(frozen=True)
class Footprint:
    """Seconds to the first answers, number of processes, bytes before and after load."""

    start: float
    processes: int
    idle: int
    loaded: int


def push(root: Path, served: Served, frontends: int) -> list[str]:
    """Take these models live on a server, which is down afterwards; give the repositories."""
    root.mkdir(exist_ok=True)
    urls = [
        processes.repository(root, f"{model}-{engine}", models.files(model, engine))
        for model, engine in served
    ]
    with (
        processes.pushserve(root, frontends) as (address, _),
        grpc.insecure_channel(address) as channel,
    ):
        for url in urls:
            pushing.deploy(pb_grpc.ModelServiceStub(channel), url)
    return urls


@contextlib.contextmanager
def started(root: Path, served: Served, frontends: int, **settings: str) -> Iterator[Running]:
    """Start the server whose models were pushed; it has answered for each of them."""
    begun = time.monotonic()
    with processes.pushserve(root, frontends, **settings) as (address, pid):
        for model, engine in served:
            await_answer(wires.pushserve(engine), address, model)
        yield Running(address, pid, time.monotonic() - begun)


def await_answer(wire: wires.Wire, address: str, model: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            wire.ask(address, model)
        except grpc.RpcError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"pushserve does not answer for {model}: {error}") from None
            time.sleep(0.02)
        else:
            return


def of(running: Running, wire: wires.Wire, callers: int = CALLERS) -> Footprint:
    """Look at a server that has settled, load it with both models for a second each, look again."""
    processes.await_idle(running.pid)
    idle = processes.memory(processes.tree(running.pid))
    for model in models.MODELS:
        Subject.of("alone", running, wire).measure(model, callers, 1.0)
    pids = processes.tree(running.pid)
    return Footprint(running.start, len(pids), idle, processes.memory(pids))


def measure(root: Path, rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Start servers with one and with both models in turn; print and give the figures."""
    clock.say("pushing the models of servers that are measured alone")
    both = [(model, "onnx") for model in models.MODELS]
    one = both[:1]
    push(root / "one", one, FRONTENDS)
    push(root / "both", both, FRONTENDS)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in clock.rounds(rounds, "start and memory, alone", share=0.2):
        with started(root / "one", one, FRONTENDS) as running:
            found["start"].append(running.start)
        with started(root / "both", both, FRONTENDS) as running:
            seen = of(running, wires.pushserve("onnx"))
        found["memory idle"].append(seen.idle / MB)
        found["memory loaded"].append(seen.loaded / MB)
    print(f"\nalone, {FRONTENDS} frontends: start to ready with one model "
          f"{summary.spread(found['start'], 's')}; with both models {seen.processes} processes, "
          f"{statistics.median(found['memory idle']):.0f} MB idle, "
          f"{statistics.median(found['memory loaded']):.0f} MB after load")  # fmt: skip
    return found
