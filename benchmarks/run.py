"""`make bench`: what one machine does by itself, all in one run, with a summary at the end.

Start and memory of a server alone; Predict against a no-op echo and a server written by hand;
rows a second beside scikit-learn; push-to-served; others' calls during attacks; 1,000 models
against 10. What is compared is interleaved and repeated; tables show medians and, in brackets, the
smallest and the largest. Ratios come from the same round.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import attacks
import footprint
import grpc
import many_models
import models
import peer_servers
import predicting
import processes
import pushing
import summary
import throughput
import wires
from predicting import Row
from progress import Clock
from subjects import Running, Subject

from pushserve.v1 import model_service_pb2_grpc as pb_grpc

PARTS = ("alone", "predict", "rows", "push", "attacks", "many")


def main() -> None:
    options = read_options()
    clock = Clock(options.minutes)
    describe(options)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="pushserve-bench-") as folder:
        root = Path(folder)
        if "alone" in options.parts:
            found |= footprint.measure(root, options.rounds, clock)
        if {"predict", "rows", "push"} & set(options.parts):
            found |= together(root / "together", options, clock)
        if "attacks" in options.parts:
            found |= attacks.measure(root / "attacks", clock)
        if "many" in options.parts:
            found |= many_models.measure(root, many_options(options), clock)
    summary.show(found, summary.BENCH)
    print(f"\n{clock.passed:.0f} s in all")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each single run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.5, help="no round goes beyond them")
    parser.add_argument("--pushes", type=int, default=10)
    parser.add_argument("--callers", type=int, nargs="+", default=predicting.CALLERS)
    parser.add_argument(
        "--engines", nargs="+", default=["onnx", "worker"], help="the first is the summary's"
    )
    parser.add_argument("--arrivals", type=int, nargs="+", default=predicting.ARRIVALS)
    parser.add_argument("--open-loop", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    return parser.parse_args()


def many_options(options: argparse.Namespace) -> argparse.Namespace:
    """Give many_models.py's own options, but with this run's rounds, seconds and frontends."""
    many = many_models.read_options([])
    for name in ("rounds", "seconds", "frontends"):
        setattr(many, name, getattr(options, name))
    return many


def describe(options: argparse.Namespace) -> None:
    names = ("grpcio", "protobuf", "scikit-learn", "onnxruntime", "numpy", "uvloop")
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"pushserve with {options.frontends} frontends; h2load on the same cores; "
          f"{options.rounds} rounds of {options.seconds:g} s", flush=True)  # fmt: skip


def together(root: Path, options: argparse.Namespace, clock: Clock) -> dict[str, list[float]]:
    """Run pushserve, the echo and the server written by hand, idle but for what is measured."""
    clock.say("starting pushserve, the echo and the server written by hand")
    root.mkdir()
    first = options.engines[0]
    other = [(model, first) for model in models.MODELS]
    footprint.push(root / "aio", other, options.frontends)
    served = [(model, engine) for model in models.MODELS for engine in options.engines]
    footprint.push(root, served, options.frontends)
    peer = peer_servers.PEERS["handwritten"]
    found: dict[str, list[float]] = {}
    with (
        processes.echo(options.frontends) as (echo, echo_pids),
        peer_servers.started(peer, Path(sys.executable), root / "handwritten") as by_hand,
        footprint.started(root, served, options.frontends) as running,
        footprint.started(root / "aio", other, options.frontends, transport="aio") as by_aio,
        grpc.insecure_channel(running.address) as channel,
    ):
        rows = [
            Row(predicting.ECHO, Subject("echo", echo, wires.echo(), lambda: echo_pids), "logistic")
        ]
        rows += our_rows(running, options.engines)
        rows += [
            Row(f"{model}, {predicting.AIO}", Subject.of("aio", by_aio, wires.pushserve(first)),
                model)
            for model in models.MODELS
        ]  # fmt: skip
        rows += [
            Row(f"{model}, {predicting.HANDWRITTEN}", Subject.of("by hand", by_hand, peer.wire),
                model)
            for model in models.MODELS
        ]  # fmt: skip
        if "predict" in options.parts:
            found |= predict(rows, options, clock)
        if "rows" in options.parts:
            found |= throughput.measure(
                running, options.engines, options.rounds, options.seconds, clock
            )
        if "push" in options.parts:
            clock.say("push to served")
            stub = pb_grpc.ModelServiceStub(channel)
            found |= pushing.push_to_served(root, stub, options.pushes)
    return found


def our_rows(running: Running, engines: list[str]) -> list[Row]:
    return [
        Row(f"{model}, {engine}", Subject.of(engine, running, wires.pushserve(engine)), model)
        for model in models.MODELS
        for engine in engines
    ]


def predict(rows: list[Row], options: argparse.Namespace, clock: Clock) -> dict[str, list[float]]:
    found = predicting.closed_loop(rows, options, clock)
    figures = predicting.figures(found, options.engines[0])
    if options.open_loop:
        ours = [row for row in rows if predicting.HANDWRITTEN not in row.title]
        figures |= predicting.open_figures(
            predicting.open_loop(ours, options, clock), options.engines[0]
        )
    return figures


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, peer_servers.LeftOut, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
