"""What a token costs: server CPU a call of Predict, without, with a right and with a wrong one.

    .venv/bin/python benchmarks/tokens.py

Two servers in one run, in turns: one asks for tokens, the other does not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import grpc
import load
import models
import processes
import wires

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

MODEL = "logistic"
KINDS = ("none", "right", "wrong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64])
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        asked = {required: Server(stack, required=required) for required in (False, True)}
        print(f"{'callers':>7} {'token':>6} {'least CPU us/call':>18} {'of none':>8} {'median':>8}")
        for callers in options.callers:
            found: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(options.rounds):
                for kind in KINDS:
                    server = asked[kind != "none"]
                    found[kind].append(server.cost(kind, callers, options.seconds))
            # What others do on the machine only adds to it, so the least is what it takes.
            least = {kind: _least(found[kind]) for kind in KINDS}
            for kind in KINDS:
                print(
                    f"{callers:7} {kind:>6} {least[kind]:18.1f} {least[kind] / least['none']:8.3f}"
                    f" {statistics.median(found[kind]):8.1f}"
                )


def _least(costs: list[float]) -> float:
    """Give the mean of the least tenth."""
    return statistics.mean(sorted(costs)[: max(len(costs) // 10, 1)])


class Server:
    def __init__(self, stack: contextlib.ExitStack, *, required: bool) -> None:
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"require_tokens": str(required).lower()}
        self.address, self.pid = stack.enter_context(processes.pushserve(self.root, 1, **settings))
        self.tokens = {"right": self.create() if required else "", "none": ""}
        self.tokens["wrong"] = self.tokens["right"][:-1] + "x"
        url = processes.repository(self.root, MODEL, models.files(MODEL, "onnx"))
        with grpc.insecure_channel(self.address) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            metadata = (("authorization", f"Bearer {self.tokens['right']}"),)
            reply = stub.Register(pb.RegisterRequest(source=url), metadata=metadata)
            watch = pb.WatchDeploymentRequest(name=reply.deployment.name)
            *_, last = stub.WatchDeployment(watch, metadata=metadata)
            assert last.deployment.state == pb.DEPLOYMENT_STATE_READY, last
        processes.await_idle(self.pid)

    def create(self) -> str:
        return subprocess.run(
            [processes.BIN / "pushserve", "token", "create", "bench", "--scope", "admin"],
            env={**os.environ, "PUSHSERVE_DATA_DIR": str(self.root / "data")},
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    def cost(self, kind: str, callers: int, seconds: float) -> float:
        """Give the server's processor time, in microseconds a call."""
        wire = wires.pushserve("onnx")
        message = wire.request(MODEL, models.rows(MODEL, 1))
        token = self.tokens[kind]
        headers = (f"authorization: Bearer {token}",) if token else ()
        pids = processes.tree(self.pid)
        before = processes.cpu_seconds(pids)
        result = load.run(
            self.address, wire.method, message, callers=callers, seconds=seconds, headers=headers
        )
        used = processes.cpu_seconds(pids) - before
        # An error has no bytes: what was let in has, what was not has none.
        assert (result.reply_bytes > 0) == (kind != "wrong"), result
        return used * seconds / (seconds + load.WARM_UP) / result.calls * 1e6


if __name__ == "__main__":
    main()
