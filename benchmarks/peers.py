"""`make bench-peers`: pushserve beside MLServer, PyTriton and grpcio with scikit-learn by hand.

One row a call, the same fitted models, h2load in a closed loop, all on the same cores. Every
run of a peer follows one of pushserve; ratios come from such pairs, and the tables show
medians and, in brackets, the smallest and the largest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import grpc
import load
import models
import peer_servers
import processes
import run
import wires
from peer_servers import PEERS, LeftOut, Running

from pushserve.v1 import model_service_pb2_grpc as pb_grpc


@dataclass(frozen=True)
class Subject:
    """What one column of the tables measures."""

    title: str
    running: Running
    wire: wires.Wire

    def measure(self, model: str, callers: int, seconds: float) -> load.Load:
        """Load it with one model's row, and insist that every call was answered."""
        _, rows = models.MODELS[model]()
        address, method = self.running.address, self.wire.method
        size = len(load.frame(self.wire.ask(address, model)))
        message = self.wire.request(model, rows[0])
        result = load.run(address, method, message, callers=callers, seconds=seconds)
        # h2load does not see the status; a call that failed brought no bytes.
        assert result.failed == 0, result
        assert result.reply_bytes > 0.999 * size, (result, size)
        return result


Cell = tuple[str, int]
"""A model and a number of callers."""
Pairs = dict[tuple[str, str, Cell], list[tuple[load.Load, load.Load]]]
"""By pushserve's title, the peer's, and the cell."""


def main() -> None:
    options = read_options()
    begun = time.monotonic()
    describe(options)
    with tempfile.TemporaryDirectory(prefix="pushserve-peers-") as folder:
        root = Path(folder)
        pythons = dict(installed(options.peers))
        alone(root, pythons, options)
        pairs = together(root, pythons, options, begun + options.minutes * 60)
    show(pairs, options)
    print(f"\n{time.monotonic() - begun:.0f} s in all")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each single run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.5, help="no round goes beyond them")
    parser.add_argument("--callers", type=int, nargs="+", default=run.CALLERS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--engines", nargs="+", default=["onnx", "worker"], help="the first is paired with peers"
    )
    return parser.parse_args()


def describe(options: argparse.Namespace) -> None:
    names = ("grpcio", "scikit-learn", "onnxruntime", "numpy", "uvloop")
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in names))
    asked = {wanted for key in options.peers for wanted in PEERS[key].requirements}
    print(", ".join(sorted(asked)))
    print(f"pushserve with {options.frontends} frontends; h2load on the same cores; "
          f"one row a call; {options.rounds} rounds of {options.seconds:g} s\n")  # fmt: skip


def installed(keys: list[str]) -> Iterator[tuple[str, Path]]:
    for key in keys:
        try:
            yield key, peer_servers.install(PEERS[key])
        except LeftOut as reason:
            leave_out(key, reason)


def leave_out(key: str, reason: BaseException) -> None:
    print(f"LEFT OUT: {PEERS[key].title}: {reason}")


@contextlib.contextmanager
def pushserve(root: Path, engines: list[str], options: argparse.Namespace) -> Iterator[Running]:
    """Push both models for these engines, then start anew: `start` is until all answer."""
    root.mkdir()
    urls = [
        processes.repository(root, f"{name}-{engine}", models.files(name, engine))
        for name in models.MODELS
        for engine in engines
    ]
    with (
        processes.pushserve(root, options.frontends) as (address, _),
        grpc.insecure_channel(address) as channel,
    ):
        for url in urls:
            run.deploy(pb_grpc.ModelServiceStub(channel), url)
    begun = time.monotonic()
    with processes.pushserve(root, options.frontends) as (address, pid):
        for name in models.MODELS:
            for engine in engines:
                await_answer(wires.pushserve(engine), address, name)
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


def alone(root: Path, pythons: dict[str, Path], options: argparse.Namespace) -> None:
    """Show start and memory, one server at a time: shared pages are counted for it alone."""
    print(f"{'alone, with both models':28} {'start s':>8} {'processes':>9} "
          f"{'PSS MiB idle':>12} {'after load':>10}")  # fmt: skip
    engine = options.engines[0]
    with pushserve(root / "alone", [engine], options) as running:
        footprint(Subject(f"pushserve, {engine}", running, wires.pushserve(engine)), options)
    for key, python in list(pythons.items()):
        peer = PEERS[key]
        try:
            with peer_servers.started(peer, python, root / key) as running:
                footprint(Subject(peer.title, running, peer.wire), options)
        except (LeftOut, AssertionError, grpc.RpcError, subprocess.CalledProcessError) as reason:
            leave_out(key, reason)
            del pythons[key]


def footprint(subject: Subject, options: argparse.Namespace) -> None:
    pid = subject.running.pid
    idle = processes.memory(processes.tree(pid))
    for name in models.MODELS:
        subject.measure(name, max(options.callers), 1.0)
    pids = processes.tree(pid)
    print(f"{subject.title:28} {subject.running.start:8.2f} {len(pids):9} "
          f"{idle / 2**20:12.0f} {processes.memory(pids) / 2**20:10.0f}", flush=True)  # fmt: skip


def together(
    root: Path, pythons: dict[str, Path], options: argparse.Namespace, deadline: float
) -> Pairs:
    """Run every server at a time, idle but for the one that is measured.

    No round begins that would end after `deadline`.
    """
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(pushserve(root / "together", options.engines, options))
        ours = [Subject(e, running, wires.pushserve(e)) for e in options.engines]
        peers: dict[str, Subject] = {}
        for key, python in pythons.items():
            peer = PEERS[key]
            try:
                up = stack.enter_context(peer_servers.started(peer, python, root / key))
            except LeftOut as reason:
                leave_out(key, reason)
            else:
                peers[key] = Subject(peer.title, up, peer.wire)
        pairs: Pairs = defaultdict(list)
        for i in range(options.rounds):
            begun = time.monotonic()
            for callers in options.callers:
                for model in models.MODELS:
                    measure_cell(ours, peers, (model, callers), pairs, options.seconds)
            now = time.monotonic()
            if i + 1 < options.rounds and now + (now - begun) > deadline:
                print(f"STOPPED after {i + 1} of {options.rounds} rounds: --minutes are over")
                break
        return pairs


def measure_cell(
    ours: list[Subject], peers: dict[str, Subject], cell: Cell, pairs: Pairs, seconds: float
) -> None:
    theirs = {}
    for key, peer in list(peers.items()):
        before = ours[0].measure(*cell, seconds)
        try:
            theirs[peer.title] = peer.measure(*cell, seconds)
        except (AssertionError, grpc.RpcError, subprocess.CalledProcessError) as reason:
            leave_out(key, reason)
            del peers[key]
        else:
            pairs[ours[0].title, peer.title, cell].append((before, theirs[peer.title]))
    for other in ours[1:]:
        after = other.measure(*cell, seconds)
        for title, result in theirs.items():
            pairs[other.title, title, cell].append((after, result))


def show(pairs: Pairs, options: argparse.Namespace) -> None:
    cells = [(model, callers) for model in models.MODELS for callers in options.callers]
    titles = list(dict.fromkeys(title for _, title, _ in pairs))
    if not titles:
        print("\nno peer was measured")
        return
    print("\ncalls a second, pushserve / peer")
    ratios(pairs, options.engines, titles, cells, of=lambda one: one.rate, best=max)
    print("\np50, pushserve / peer")
    ratios(pairs, options.engines, titles, cells, of=lambda one: one.p50, best=min)
    print("\ncalls a second (p50 us, p99 us)")
    figures(pairs, options.engines, titles, cells)


def ratios(pairs: Pairs, engines: list[str], titles: list[str], cells: list[Cell], *, of, best):
    """Print a table of ratios; MLServer's better setting is chosen for each cell."""
    mlserver = [title for title in titles if title.startswith("MLServer")]
    columns = [*titles, "MLServer, its best"] if len(mlserver) > 1 else titles
    print(f"{'':26}" + "".join(f"{title:>26}" for title in columns))
    for engine in engines:
        for cell in cells:
            line = f"{engine:8} {cell[0]:10} {cell[1]:4}   "
            for title in columns:
                chosen = title
                if title not in titles:
                    chosen = best(
                        (t for t in mlserver if pairs[engine, t, cell]),
                        key=lambda t: statistics.median(of(b) for _, b in pairs[engine, t, cell]),
                        default=mlserver[0],
                    )
                line += f"{spread([of(a) / of(b) for a, b in pairs[engine, chosen, cell]]):>26}"
            print(line)


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def figures(pairs: Pairs, engines: list[str], titles: list[str], cells: list[Cell]) -> None:
    print(f"{'':15}" + "".join(f"{name:>26}" for name in [*engines, *titles]))
    for cell in cells:
        line = f"{cell[0]:10} {cell[1]:4}"
        for engine in engines:
            # The worker's runs stand beside every peer: once is enough.
            runs = {id(a): a for title in titles for a, _ in pairs[engine, title, cell]}
            line += f"{figure(list(runs.values())):>26}"
        for title in titles:
            line += f"{figure([b for _, b in pairs[engines[0], title, cell]]):>26}"
        print(line)


def figure(runs: list[load.Load]) -> str:
    if not runs:
        return "-"
    rate, p50, p99 = (
        statistics.median(getattr(one, name) for one in runs) for name in ("rate", "p50", "p99")
    )
    return f"{rate:,.0f} ({p50:,.0f}, {p99:,.0f})"


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, grpc.RpcError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench-peers: {error}")
