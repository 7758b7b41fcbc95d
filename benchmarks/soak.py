"""`make bench-soak`: mixed load for minutes on end, while new versions are pushed.

Both engines get one row and 256 rows a call, streams, bad rows (NaN or infinity, which have to
be refused, and they alone), List and Get. Meanwhile a commit is pushed and registered every
`--every` seconds, for one model after the other. Nothing may fail, and memory must not grow
once the server is warm: each 30 s count with their least memory (between the swaps), a line
is fitted to those after the warm-up, and its end may not be above 1.1 times its beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import looks
import mixed_load
import models
import numpy as np
import processes
import pushing
import summary
from looks import Look
from mixed_load import MixedLoad
from progress import Clock

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

LOOK_EVERY = 5.0
SAY_EVERY = 10.0
SETTLE = 10.0
"""Seconds in which what is no longer used may go, before things are counted."""


@dataclass(frozen=True)
class Server:
    """The server under load."""

    root: Path
    address: str
    pid: int
    stub: pb_grpc.ModelServiceStub

    def look(self, at: float = 0.0) -> Look:
        return looks.look(self.root / "data", self.pid, at)


@dataclass
class Pusher:
    """Pushes a new version of one model after the other, until stopped."""

    root: Path
    stub: pb_grpc.ModelServiceStub
    every: float
    names: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        subjects = [(name, engine) for name in models.MODELS for engine in mixed_load.ENGINES]
        due = time.monotonic()
        for i in itertools.count():
            if self.stopped.wait(max(0.0, due - time.monotonic())):
                return
            name, engine = subjects[i % len(subjects)]
            variant = (i // len(subjects) + 1) % mixed_load.VARIANTS
            note = {"note.txt": str(i).encode()}
            try:
                url = processes.repository(
                    self.root, f"{name}-{engine}", models.files(name, engine, variant) | note
                )
                self.names.append(pushing.register(self.stub, url))
            except (grpc.RpcError, subprocess.CalledProcessError) as error:
                self.failures.append(str(error))
            due += self.every

    def ended(self) -> tuple[int, int]:
        """Wait for the last deployments; give how many are READY and SUPERSEDED, note the rest."""
        ready = superseded = 0
        for name in self.names:
            last = pushing.followed(self.stub, name)
            if last.state == pb.DEPLOYMENT_STATE_READY:
                ready += 1
            elif last.state == pb.DEPLOYMENT_STATE_SUPERSEDED:
                superseded += 1
            else:
                self.failures.append(f"{name}: {last.error.reason}: {last.error.message}")
        return ready, superseded


def main() -> None:
    options = read_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    clock = Clock(options.minutes)
    with tempfile.TemporaryDirectory(prefix="pushserve-soak-") as folder:
        root = Path(folder)
        with (
            processes.pushserve(root, options.frontends) as (address, pid),
            grpc.insecure_channel(address) as channel,
        ):
            stub = pb_grpc.ModelServiceStub(channel)
            clock.say("the first version of each model")
            first_versions(root, stub)
            good = soak(Server(root, address, pid, stub), options, clock)
    sys.exit(0 if good else 1)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--frontends", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between pushes")
    parser.add_argument("--warm-up", type=float, help="seconds; a quarter, 90 at the most")
    options = parser.parse_args()
    if options.warm_up is None:
        options.warm_up = min(90.0, options.minutes * 60 / 4)
    return options


def first_versions(root: Path, stub: pb_grpc.ModelServiceStub) -> None:
    for name in models.MODELS:
        for engine in mixed_load.ENGINES:
            url = processes.repository(root, f"{name}-{engine}", models.files(name, engine))
            pushing.deploy(stub, url)
        for variant in range(mixed_load.VARIANTS):  # computed before they are needed
            for count in (1, mixed_load.MANY):
                models.expected(name, count, variant)


def soak(server: Server, options: argparse.Namespace, clock: Clock) -> bool:
    """Load, push and look; print what was seen; tell whether it is as it must be."""
    time.sleep(SETTLE)
    before = server.look()
    load = MixedLoad(server.address)
    pusher = Pusher(server.root, server.stub, options.every)
    seen: list[Look] = []
    interrupted = False
    with under_way(load, pusher):
        try:
            for one in looking(server, options.minutes * 60):
                seen.append(one)
                say(clock, one, load, pusher)
        except KeyboardInterrupt:
            interrupted = True
            clock.say("interrupted: what was seen so far follows")
    ready, superseded = pusher.ended()
    time.sleep(SETTLE)
    show_calls(load)
    show_pushes(pusher, ready, superseded)
    growth = looks.show_memory(seen, options.warm_up, ready)
    looks.show_ends(before, server.look())
    show_complaints(server.root / "server.log")
    measured: dict[str, list[float]] = {"soak failed": [load.failed]}
    if growth is not None:
        measured["soak memory"] = [growth]
    summary.show(measured, summary.SOAK)
    return summary.all_met(measured) and not pusher.failures and not interrupted


@contextlib.contextmanager
def under_way(load: MixedLoad, pusher: Pusher) -> Iterator[None]:
    thread = threading.Thread(target=pusher.run)
    load.start()
    thread.start()
    try:
        yield
    finally:
        pusher.stopped.set()
        thread.join(60)
        load.stop()


def looking(server: Server, seconds: float) -> Iterator[Look]:
    begun = time.monotonic()
    for i in itertools.count(1):
        due = i * LOOK_EVERY
        if due > seconds:
            return
        time.sleep(max(0.0, begun + due - time.monotonic()))
        yield server.look(time.monotonic() - begun)


def say(clock: Clock, one: Look, load: MixedLoad, pusher: Pusher) -> None:
    if one.at % SAY_EVERY >= LOOK_EVERY:
        return
    page = pusher.stub.List(pb.ListRequest(), timeout=20)
    live = sum(model.refs[0].version for model in page.models)
    clock.say(f"{load.calls:,} calls, {load.failed} failed; {len(pusher.names)} pushed, "
              f"{live} versions went live; {one.memory / 2**20:.0f} MiB, "
              f"{one.descriptors} descriptors, {one.processes} processes, "
              f"{one.disk['(whole)'] / 2**20:.0f} MiB on disk")  # fmt: skip


def show_calls(load: MixedLoad) -> None:
    print(f"\n{'':38} {'calls':>9} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8} {'most ms':>8}")
    for title, kind in sorted(load.kinds.items()):
        times = np.asarray(kind.times) * 1e3
        p50, p99 = np.percentile(times, [50, 99])
        print(f"{title:38} {len(times):9,} {kind.failures.total():7} "
              f"{p50:8.2f} {p99:8.2f} {times.max():8.1f}")  # fmt: skip
        for text, count in kind.failures.most_common(5):
            print(f"  {count} times: {text}")
    print(f"{'all':38} {load.calls:9,} {load.failed:7}")


def show_pushes(pusher: Pusher, ready: int, superseded: int) -> None:
    print(f"\nversions pushed: {len(pusher.names)}; went live: {ready}; superseded before they "
          f"did: {superseded}; failed: {len(pusher.failures)}")  # fmt: skip
    for failure in pusher.failures[:10]:
        print(f"  {failure}")


def show_complaints(log: Path) -> None:
    """Print what the server warned of."""
    lines = [line.split(maxsplit=3) for line in log.read_text().splitlines()]
    said = [words[3] for words in lines if len(words) == 4 and words[2] in {"WARNING", "ERROR"}]
    print(f"\nwarnings and errors in the server's log: {len(said)}")
    for line in said[:5]:
        print(f"  {line}")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, grpc.RpcError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench-soak: {error}")
    except KeyboardInterrupt:
        sys.exit("bench-soak: interrupted")
