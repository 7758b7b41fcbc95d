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
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import footprint
import grpc
import load
import models
import peer_servers
import predicting
import summary
import wires
from footprint import Footprint
from peer_servers import PEERS, LeftOut
from progress import Clock
from subjects import Subject

BEST = "MLServer, its best"
MLSERVER = PEERS["mlserver"].title
PYTRITON = PEERS["pytriton"].title
FAILURES = (LeftOut, AssertionError, grpc.RpcError, subprocess.CalledProcessError)
"""After which a peer is left out, and the rest goes on."""
Cell = tuple[str, int]
"""A model and a number of callers."""
Pairs = dict[tuple[str, str, Cell], list[tuple[load.Load, load.Load]]]
"""By pushserve's title, the peer's, and the cell."""


def main() -> None:
    options = read_options()
    clock = Clock(options.minutes)
    describe(options)
    with tempfile.TemporaryDirectory(prefix="pushserve-peers-") as folder:
        root = Path(folder)
        clock.say("installing the peers that are not there yet")
        pythons = dict(installed(options.peers))
        found = alone(root, pythons, options, clock)
        pairs = together(root, pythons, options, clock)
    show(pairs, options)
    summary.show(found | figures(pairs, options.engines), summary.PEERS)
    print(f"\n{clock.passed:.0f} s in all")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each single run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.5, help="no round goes beyond them")
    parser.add_argument("--callers", type=int, nargs="+", default=predicting.CALLERS)
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


def alone(
    root: Path, pythons: dict[str, Path], options: argparse.Namespace, clock: Clock
) -> dict[str, list[float]]:
    """Show start and memory, one server at a time; give the summary's figures of memory."""
    engine = options.engines[0]
    served = [(model, engine) for model in models.MODELS]
    seen: dict[str, Footprint] = {}
    clock.say("alone: pushserve")
    footprint.push(root / "alone", served, options.frontends)
    callers = max(options.callers)
    with footprint.started(root / "alone", served, options.frontends) as running:
        seen[f"pushserve, {engine}"] = ours = footprint.of(
            running, wires.pushserve(engine), callers
        )
    for key, python in list(pythons.items()):
        peer = PEERS[key]
        clock.say(f"alone: {peer.title}")
        try:
            with peer_servers.started(peer, python, root / key) as running:
                seen[peer.title] = footprint.of(running, peer.wire, callers)
        except FAILURES as reason:
            leave_out(key, reason)
            del pythons[key]
    print(f"\n{'alone, with both models':28} {'start s':>8} {'processes':>9} "
          f"{'PSS MB idle':>12} {'after load':>10}")  # fmt: skip
    for title, one in seen.items():
        print(f"{title:28} {one.start:8.2f} {one.processes:9} "
              f"{one.idle / 1e6:12.0f} {one.loaded / 1e6:10.0f}")  # fmt: skip
    if (theirs := seen.get(MLSERVER)) is None:
        return {}
    return {
        "memory mlserver idle": [ours.idle / theirs.idle],
        "memory mlserver loaded": [ours.loaded / theirs.loaded],
    }


def together(
    root: Path, pythons: dict[str, Path], options: argparse.Namespace, clock: Clock
) -> Pairs:
    """Run every server at a time, idle but for the one that is measured."""
    clock.say("starting all together")
    served = [(model, engine) for model in models.MODELS for engine in options.engines]
    footprint.push(root / "together", served, options.frontends)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(
            footprint.started(root / "together", served, options.frontends)
        )
        ours = [Subject.of(e, running, wires.pushserve(e)) for e in options.engines]
        peers: dict[str, Subject] = {}
        for key, python in pythons.items():
            peer = PEERS[key]
            try:
                up = stack.enter_context(peer_servers.started(peer, python, root / key))
            except LeftOut as reason:
                leave_out(key, reason)
            else:
                peers[key] = Subject.of(peer.title, up, peer.wire)
        pairs: Pairs = defaultdict(list)
        for _ in clock.rounds(options.rounds, "all together"):
            for callers in options.callers:
                clock.say(f"  {callers} callers")
                for model in models.MODELS:
                    measure_cell(ours, peers, (model, callers), pairs, options.seconds)
        return pairs


def measure_cell(
    ours: list[Subject], peers: dict[str, Subject], cell: Cell, pairs: Pairs, seconds: float
) -> None:
    theirs = {}
    for key, peer in list(peers.items()):
        before = ours[0].measure(*cell, seconds)
        try:
            theirs[peer.title] = peer.measure(*cell, seconds)
        except FAILURES as reason:
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
    details(pairs, options.engines, titles, cells)


def ratios(pairs: Pairs, engines: list[str], titles: list[str], cells: list[Cell], *, of, best):
    """Print a table of ratios; MLServer's better setting is chosen for each cell."""
    columns = [*titles, BEST] if len(mlservers(pairs)) > 1 else titles
    print(f"{'':26}" + "".join(f"{title:>26}" for title in columns))
    for engine in engines:
        for cell in cells:
            line = f"{engine:8} {cell[0]:10} {cell[1]:4}   "
            for title in columns:
                values = ratio(pairs, (engine, title, cell), of=of, best=best)
                line += f"{summary.spread(values):>26}"
            print(line)


def mlservers(pairs: Pairs) -> list[str]:
    return list(dict.fromkeys(title for _, title, _ in pairs if title.startswith("MLServer")))


def ratio(pairs: Pairs, key: tuple[str, str, Cell], *, of, best) -> list[float]:
    """Give each round's ratio, pushserve / peer; none where it was not measured."""
    engine, title, cell = key
    if title == BEST:
        measured = [one for one in mlservers(pairs) if pairs.get((engine, one, cell))]
        if not measured:
            return []
        title = best(
            measured,
            key=lambda one: statistics.median(of(theirs) for _, theirs in pairs[engine, one, cell]),
        )
    return [of(ours) / of(theirs) for ours, theirs in pairs.get((engine, title, cell), ())]


def figures(pairs: Pairs, engines: list[str]) -> dict[str, list[float]]:
    """Give the summary's figures, for the first engine."""
    rate = {"of": lambda one: one.rate, "best": max}
    p50 = {"of": lambda one: one.p50, "best": min}
    first = engines[0]
    found = {}
    for model in models.MODELS:
        many, one = (model, 64), (model, 1)
        found[f"rate mlserver {model}"] = ratio(pairs, (first, BEST, many), **rate)
        found[f"rate pytriton {model}"] = ratio(pairs, (first, PYTRITON, many), **rate)
        found[f"p50 mlserver {model}"] = ratio(pairs, (first, BEST, one), **p50)
        by_hand = PEERS["handwritten"].title
        found[f"p50 handwritten {model}"] = ratio(pairs, (first, by_hand, one), **p50)
    found["rate pytriton worker"] = ratio(pairs, ("worker", PYTRITON, ("forest", 64)), **rate)
    return {key: values for key, values in found.items() if values}


def details(pairs: Pairs, engines: list[str], titles: list[str], cells: list[Cell]) -> None:
    print(f"{'':15}" + "".join(f"{name:>26}" for name in [*engines, *titles]))
    for cell in cells:
        line = f"{cell[0]:10} {cell[1]:4}"
        for engine in engines:
            # The worker's runs stand beside every peer: once is enough.
            runs = {id(a): a for title in titles for a, _ in pairs[engine, title, cell]}
            line += f"{detail(list(runs.values())):>26}"
        for title in titles:
            line += f"{detail([b for _, b in pairs[engines[0], title, cell]]):>26}"
        print(line)


def detail(runs: list[load.Load]) -> str:
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
    except KeyboardInterrupt:
        sys.exit("bench-peers: interrupted")
