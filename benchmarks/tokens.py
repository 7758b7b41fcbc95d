"""What a token costs: server CPU a call of Predict, without, with a right and with a wrong one.

    .venv/bin/python benchmarks/tokens.py

One server that asks for tokens and one that does not, in turns of a tenth of a second: what else
goes on meanwhile falls on all of them alike, and the median of the turns' ratios is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import grpc
import models
import processes
import wires

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

MODEL = "logistic"
KINDS = ("none", "ignored", "right", "wrong")
"""No token; one that nobody asks for, which is only carried; one that is looked at."""
CONNECTIONS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--calls", type=int, default=256, help="in a turn")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        asked = {required: Server(stack, required=required) for required in (False, True)}
        print(f"{'callers':>7} {'token':>7} {'CPU us/call':>12} {'of none':>8} {'quartiles':>14}")
        for callers in options.callers:
            found: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for turn in range(options.turns):
                for kind in KINDS[turn % 4 :] + KINDS[: turn % 4]:
                    server = asked[kind in ("right", "wrong")]
                    found[kind].append(server.cost(kind, callers, options.calls))
            for kind in KINDS:
                ratios = [a / b for a, b in zip(found[kind], found["none"], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                print(
                    f"{callers:7} {kind:>7} {statistics.median(found[kind]):12.1f}"
                    f" {middle:8.3f} {low:6.3f}-{high:.3f}"
                )


class Server:
    def __init__(self, stack: contextlib.ExitStack, *, required: bool) -> None:
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"require_tokens": str(required).lower()}
        address, pid = stack.enter_context(processes.pushserve(self.root, 1, **settings))
        right = self._create() if required else "psv_none"
        self.headers = {
            "none": (),
            "ignored": (("authorization", f"Bearer psv_{'0' * 77}"),),
            "right": (("authorization", f"Bearer {right}"),),
            "wrong": (("authorization", f"Bearer {right[:-1]}x"),),
        }
        self.channels = [
            stack.enter_context(
                grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(CONNECTIONS)
        ]
        self._go_live()
        processes.await_idle(pid)
        self.pids = processes.tree(pid)
        wire = wires.pushserve("onnx")
        self.message = wire.request(MODEL, models.rows(MODEL, 1))
        self.methods: list[Any] = [c.unary_unary(f"/{wire.method}") for c in self.channels]

    def _create(self) -> str:
        return subprocess.run(
            [processes.BIN / "pushserve", "token", "create", "bench", "--scope", "admin"],
            env={**os.environ, "PUSHSERVE_DATA_DIR": str(self.root / "data")},
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    def _go_live(self) -> None:
        url = processes.repository(self.root, MODEL, models.files(MODEL, "onnx"))
        stub = pb_grpc.ModelServiceStub(self.channels[0])
        metadata = self.headers["right"]
        reply = stub.Register(pb.RegisterRequest(source=url), metadata=metadata)
        watch = pb.WatchDeploymentRequest(name=reply.deployment.name)
        *_, last = stub.WatchDeployment(watch, metadata=metadata)
        assert last.deployment.state == pb.DEPLOYMENT_STATE_READY, last

    def cost(self, kind: str, callers: int, calls: int) -> float:
        """Give the server's processor time, in microseconds a call."""
        wanted = grpc.StatusCode.UNAUTHENTICATED if kind == "wrong" else grpc.StatusCode.OK
        before = cpu_time(self.pids)
        for first in range(0, calls, callers):
            some = [
                self.methods[i % CONNECTIONS].future(self.message, metadata=self.headers[kind])
                for i in range(first, min(first + callers, calls))
            ]
            assert {call.code() for call in some} == {wanted}
        return (cpu_time(self.pids) - before) / calls * 1e6


def cpu_time(pids: list[int]) -> float:
    """Give the processor time of these processes so far, in seconds, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


if __name__ == "__main__":
    main()
