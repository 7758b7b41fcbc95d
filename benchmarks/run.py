"""`make bench`: Predict against a no-op echo, and push-to-served by step, all in one run.

What is compared is interleaved and repeated; the table shows medians and, in brackets, the
smallest and the largest. Ratios within a row come from the same round.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import arrivals
import grpc
import load
import models
import numpy as np
import processes

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

PREDICT = "pushserve.v1.ModelService/Predict"
CALLERS = (1, 8, 64)
SHARES = (0.5, 0.8)


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="pushserve-bench-") as folder:
        root = Path(folder)
        urls = {
            (name, engine): processes.repository(
                root, f"{name}-{engine}", models.files(name, engine)
            )
            for name in models.MODELS
            for engine in options.engines
        }
        describe(options)
        started = time.monotonic()
        with (
            processes.echo(options.frontends) as (echo, echo_pids),
            processes.pushserve(root, options.frontends) as (address, pid),
        ):
            print(f"start to all frontends answering: {time.monotonic() - started:.2f} s")
            with grpc.insecure_channel(address) as channel:
                stub = pb_grpc.ModelServiceStub(channel)
                for url in urls.values():
                    deploy(stub, url)
                subjects = {"no-op echo": (echo, "bench.Echo/Echo", b"x" * 64, lambda: echo_pids)}
                for name, engine in urls:
                    message = request(name, engine)
                    checked(stub, name, message)
                    subjects[f"{name}, {engine}"] = (
                        address, PREDICT, message.SerializeToString(), lambda: processes.tree(pid),
                    )  # fmt: skip
                idle = processes.memory(processes.tree(pid))
                found = predict(subjects, options)
                if options.open_loop:
                    open_loop(subjects, limits(found), options)
                loaded = processes.memory(processes.tree(pid))
                print(f"\nmemory (PSS, all processes): {idle >> 20} MiB idle, "
                      f"{loaded >> 20} MiB after load\n")  # fmt: skip
                push_to_served(root, stub, options)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each single run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pushes", type=int, default=10)
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS)
    parser.add_argument("--engines", nargs="+", default=["onnx", "worker"])
    parser.add_argument("--open-loop", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def describe(options: argparse.Namespace) -> None:
    names = ("grpcio", "protobuf", "scikit-learn", "onnxruntime", "numpy", "uvloop")
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"{options.frontends} frontends; h2load on the same cores; one row a call")


def request(name: str, engine: str) -> pb.PredictRequest:
    _, rows = models.MODELS[name]()
    row = np.ascontiguousarray(rows[0], "<f8")
    tensor = pb.Tensor(shape=[1, len(row)], raw=row.tobytes(), dtype=pb.DATA_TYPE_FLOAT64)
    return pb.PredictRequest(model=f"{name}-{engine}", tensor=tensor)


def checked(stub: pb_grpc.ModelServiceStub, name: str, message: pb.PredictRequest) -> None:
    """Insist that the answer is scikit-learn's own before it is measured."""
    model, rows = models.MODELS[name]()
    reply = stub.Predict(message, timeout=20)
    outputs = {output.name: output for output in reply.outputs}
    assert outputs["label"].ints.values[0] == model.predict(rows[:1])[0]
    got = list(outputs["probabilities"].doubles.values)
    assert np.allclose(got, model.predict_proba(rows[:1])[0], rtol=0, atol=1e-6), got


def deploy(stub: pb_grpc.ModelServiceStub, url: str) -> pb.Deployment:
    name = stub.Register(pb.RegisterRequest(source=url), timeout=20).deployment.name
    last = pb.Deployment()
    for reply in stub.WatchDeployment(pb.WatchDeploymentRequest(name=name), timeout=120):
        last = reply.deployment
    assert last.state == pb.DEPLOYMENT_STATE_READY, last
    return last


Subject = tuple[str, str, bytes, Callable[[], list[int]]]
Found = dict[tuple[str, int], list[tuple[load.Load, float]]]
"""By subject and callers: each round's load, and server CPU in microseconds a call."""


def predict(subjects: dict[str, Subject], options: argparse.Namespace) -> Found:
    found: Found = defaultdict(list)
    for _ in range(options.rounds):
        for callers in options.callers:
            for name, (address, method, message, pids) in subjects.items():
                before = processes.cpu_seconds(pids())
                result = load.run(
                    address, method, message, callers=callers, seconds=options.seconds
                )
                used = processes.cpu_seconds(pids()) - before
                # The warm-up's half second burns processor time as well.
                share = options.seconds / (options.seconds + 0.5)
                found[name, callers].append((result, used * share / result.calls * 1e6))
                assert result.failed == 0, (name, result)
    head = f"{'':18} {'callers':>7} {'calls/s':>24} {'of echo':>8} {'p50 us':>8} {'p99 us':>8}"
    print(f"\n{head} {'CPU us/call':>11} {'of echo':>8}")
    for callers in options.callers:
        base = found["no-op echo", callers]
        for name in subjects:
            print(row(name, callers, found[name, callers], base))
    return found


def row(name: str, callers: int, runs: list, base: list) -> str:
    rates = [one.rate for one, _ in runs]
    ratio = statistics.median(
        one.rate / other.rate for (one, _), (other, _) in zip(runs, base, strict=True)
    )
    cpu = statistics.median(used for _, used in runs)
    cpu_ratio = statistics.median(
        used / other for (_, used), (_, other) in zip(runs, base, strict=True)
    )
    spread = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
    p50 = statistics.median(one.p50 for one, _ in runs)
    p99 = statistics.median(one.p99 for one, _ in runs)
    return (
        f"{name:18} {callers:7} {spread:>24} {ratio:8.2f} {p50:8.0f} {p99:8.0f}"
        f" {cpu:11.0f} {cpu_ratio:8.2f}"
    )


def limits(found: Found) -> dict[str, float]:
    """Give each subject's most calls a second in the closed loop."""
    most: dict[str, float] = defaultdict(float)
    for (name, _), runs in found.items():
        most[name] = max(most[name], statistics.median(one.rate for one, _ in runs))
    return most


def open_loop(
    subjects: dict[str, Subject], limit: dict[str, float], options: argparse.Namespace
) -> None:
    """Show latencies at fixed rates of arrival: nothing waits for the server's answers."""
    runs: dict[tuple[str, float], list[load.Load]] = defaultdict(list)
    for _ in range(options.rounds):
        for share in SHARES:
            for name, (address, method, message, _) in subjects.items():
                rate = share * limit[name]
                runs[name, share].append(
                    arrivals.run(address, method, message, rate=rate, seconds=options.seconds)
                )
    print("\nopen loop: Poisson arrivals over 64 connections, at a share of the limit above")
    print(f"{'':18} {'share':>7} {'asked/s':>8} {'answered/s':>10} {'p50 us':>8} {'p99 us':>8} "
          f"{'p99.9 us':>8} {'failed':>8}")  # fmt: skip
    for (name, share), results in sorted(runs.items(), key=lambda item: item[0][1]):
        median = {
            of: statistics.median(getattr(one, of) for one in results)
            for of in ("rate", "p50", "p99", "p999")
        }
        failed = sum(one.failed for one in results) / sum(one.failed + one.calls for one in results)
        print(f"{name:18} {share:7.0%} {share * limit[name]:8,.0f} {median['rate']:10,.0f} "
              f"{median['p50']:8,.0f} {median['p99']:8,.0f} {median['p999']:8,.0f} "
              f"{failed:8.2%}")  # fmt: skip


def push_to_served(root: Path, stub: pb_grpc.ModelServiceStub, options: argparse.Namespace) -> None:
    steps: dict[str, list[float]] = defaultdict(list)
    for i in range(options.pushes):
        files = models.files("logistic", "auto") | {"note.txt": str(i).encode()}
        url = processes.repository(root, "logistic-auto", files)
        done = deploy(stub, url)
        times = [(event.state, event.time.ToNanoseconds() / 1e6) for event in done.events]
        first: dict[int, float] = {}
        for state, at in times:
            first.setdefault(state, at)
        order = sorted(first.items(), key=lambda item: item[1])
        for (state, at), (_, after) in itertools.pairwise(order):
            steps[pb.DeploymentState.Name(state).removeprefix("DEPLOYMENT_STATE_")].append(
                after - at
            )
        steps["push to served"].append(order[-1][1] - order[0][1])
        steps["after the fetch"].append(order[-1][1] - first[pb.DEPLOYMENT_STATE_CHECKING])
    print(f"push to served, {options.pushes} pushes of a small model, ms: p50 (min-max)")
    for step, values in steps.items():
        print(f"  {step:16} {statistics.median(values):7.0f} ({min(values):.0f}-{max(values):.0f})")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
