"""`python benchmarks/many_models.py`: what 1,000 registered models cost against 10.

One model is pushed and built. The others are made from it without a push: a bundle of its
own for each (the same graph and one file more, so that nothing is shared), and its rows by
the registry's own steps, from Register to READY, as models of other folders of the same
repository. Registering 1,000 folders would measure 1,000 builds.

The two servers are started in turn, `--rounds` times; figures are medians with the smallest
and the largest, the last column is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import footprint
import grpc
import models
import processes
import wires
from progress import Clock
from subjects import Subject

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.build.bundles import Bundles
from pushserve_server.domain.records import Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.registry import Registry

SERVED = [("logistic", "onnx")]
FIRST = "logistic-onnx"
OWNER = "bench"
FIRST_CALLS = 20
"""Models that are called for the first time in each round."""


FIGURES = {
    "start": "start to first answer, s",
    "list": "List, a page of 10, p50 us",
    "predict": "Predict, one model, p50 us",
    "memory": "PSS MiB after load",
}
"""What goes into the summary of `make bench`."""


def main() -> None:
    options = read_options()
    print(f"{os.cpu_count()} cores, {options.frontends} frontends, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="pushserve-many-") as folder:
        measure(Path(folder), options, Clock(options.minutes))


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.5, help="no round goes beyond them")
    parser.add_argument("--seconds", type=float, default=3.0, help="of Predict, one caller")
    parser.add_argument("--calls", type=int, default=200, help="of List")
    return parser.parse_args(arguments)


def measure(folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, list[float]]:
    """Print the table; give the summary's figures: the most models against the fewest."""
    figures: dict[tuple[str, int], list[float]] = defaultdict(list)
    roots = {count: folder / f"models-{count}" for count in options.models}
    for count, root in roots.items():
        clock.say(f"preparing {count:,} models")
        prepare(root, count, options)
    for _ in clock.rounds(options.rounds, "many models"):
        for count, root in roots.items():
            for figure, value in once(root, count, options).items():
                figures[figure, count].append(value)
    show(figures, options.models)
    return {f"many {key}": ratios(figures, of, options.models) for key, of in FIGURES.items()}


def prepare(root: Path, count: int, options: argparse.Namespace) -> None:
    """Push one model and make the others from it; the server is down afterwards."""
    (url,) = footprint.push(root, SERVED, options.frontends)
    # Copies need not survive a power cut: without syncing them this takes half the time.
    with mock.patch.object(os, "fsync"):
        add_copies(root, url, count)


def add_copies(root: Path, url: str, count: int) -> None:
    registry = Registry.open(f"sqlite:///{root / 'data' / 'registry.sqlite3'}")
    try:
        bundles = Bundles(root / "data" / "bundles")
        first = registry.find_version(FIRST, number=1)
        for i in range(1, count):
            digest = copy_bundle(bundles, first.digest, f"{i}")
            add_model(registry, url, i, first, digest)
    finally:
        registry.close()


def name(i: int) -> str:
    """Give the name of a copy; 0 is the model that was pushed."""
    return f"copy-{i:04}" if i else FIRST


def copy_bundle(bundles: Bundles, digest: str, note: str) -> str:
    built = bundles.open(digest)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(built.folder, Path(folder, "files"))
        (copy / "note.txt").write_text(note)
        return bundles.add(copy, built.spec, built.graph)


def add_model(registry: Registry, url: str, i: int, first: Version, digest: str) -> None:
    """Take a deployment of folder `i` through its states, as the deployer would."""
    branch = "refs/heads/main"
    registry.register(
        source=url, path=f"copies/{i}", ref=branch, commit=first.commit, model=name(i),
        retry=False, default_branch=branch,
    )  # fmt: skip
    leased = registry.lease(OWNER, 60)
    assert leased is not None
    token, _ = leased
    for state in (DeploymentState.FETCHING, DeploymentState.CHECKING, DeploymentState.BUILDING):
        registry.advance(token, state, "benchmark")
    registry.add_version(
        token, model=name(i), default_ref=branch, commit=first.commit, engine=first.engine,
        digest=digest, signature=first.signature, report=first.report,
    )  # fmt: skip
    registry.activate(token)
    registry.finish(token)


def once(root: Path, count: int, options: argparse.Namespace) -> dict[str, float]:
    """Start a server and measure it."""
    found: dict[str, float] = {}
    wire = wires.pushserve("onnx")
    with (
        footprint.started(root, SERVED, options.frontends) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = pb_grpc.ModelServiceStub(channel)
        await_models(stub, count)
        found["start to first answer, s"] = running.start
        processes.await_idle(running.pid)  # what is loaded ahead of calls is not List's
        found["PSS MiB after start"] = processes.memory(processes.tree(running.pid)) / 2**20
        pages = pb.ListRequest(page_size=10)
        found["List, a page of 10, p50 us"] = p50(options.calls, lambda: stub.List(pages))
        found["Get, p50 us"] = p50(options.calls, lambda: stub.Get(pb.GetRequest(model=FIRST)))
        result = Subject.of(FIRST, running, wire).measure("logistic", 1, options.seconds)
        found["Predict, one model, p50 us"] = result.p50
        request = pb.PredictRequest.FromString(wire.request("logistic", models.rows("logistic", 1)))
        found["Predict, a model's first, p50 us"] = first_calls(stub, request, count)
        found["Predict, any model, p50 us"] = any_model(stub, request, count, options.calls)
        found["PSS MiB after load"] = processes.memory(processes.tree(running.pid)) / 2**20
    return found


def await_models(stub: pb_grpc.ModelServiceStub, count: int) -> None:
    """Insist that all are listed; they were before the start."""
    listed, token = 0, ""
    while True:
        page = stub.List(pb.ListRequest(page_size=1000, page_token=token), timeout=20)
        listed, token = listed + len(page.models), page.next_page_token
        if not token:
            break
    assert listed == count, (listed, count)


def p50(calls: int, call: Callable[[], object]) -> float:
    """Call one after the other; give the median in microseconds."""
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def first_calls(stub: pb_grpc.ModelServiceStub, request: pb.PredictRequest, count: int) -> float:
    chosen = iter(random.Random(0).sample(range(1, count), min(FIRST_CALLS, count - 1)))

    def call() -> None:
        request.model = name(next(chosen))
        answered(stub, request)

    return p50(min(FIRST_CALLS, count - 1), call)


def any_model(
    stub: pb_grpc.ModelServiceStub, request: pb.PredictRequest, count: int, calls: int
) -> float:
    chance = random.Random(1)

    def call() -> None:
        request.model = name(chance.randrange(count))
        answered(stub, request)

    return p50(calls, call)


def answered(stub: pb_grpc.ModelServiceStub, request: pb.PredictRequest) -> None:
    """Predict, again while the model is being loaded: that wait is part of the figure."""
    deadline = time.monotonic() + 60
    while True:
        try:
            stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


def show(figures: dict[tuple[str, int], list[float]], counts: list[int]) -> None:
    print(f"\n{'':34}" + "".join(f"{f'{count:,} models':>28}" for count in counts) + "     ratio")
    for figure in dict.fromkeys(figure for figure, _ in figures):
        line = f"{figure:34}"
        for count in counts:
            values = figures[figure, count]
            median = statistics.median(values)
            line += f"{f'{median:,.1f} ({min(values):,.1f}-{max(values):,.1f})':>28}"
        print(f"{line} {statistics.median(ratios(figures, figure, counts)):9.2f}")


def ratios(
    figures: dict[tuple[str, int], list[float]], figure: str, counts: list[int]
) -> list[float]:
    """Give each round's ratio of the last count to the first."""
    few, many = (figures[figure, count] for count in (counts[0], counts[-1]))
    return [b / a for a, b in zip(few, many, strict=True)]


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, grpc.RpcError, subprocess.CalledProcessError) as error:
        sys.exit(f"many models: {error}")
