"""Calls/s of one worker through its socket, beside the worker of another revision.

    python benchmarks/worker.py --against v0.1.0

One row a call; so many calls are outstanding all the time. Rounds are interleaved, and the
ratio is the median of the rounds' ratios. `split` says where a batch's time goes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import models
import numpy as np

from pushserve_runtime import messages
from pushserve_runtime.frames import Array, Kind, encode_arrays, encode_frame
from pushserve_runtime.signature import DType

ROOT = Path(__file__).parent.parent
BOTH = 3  # the mask of label and probabilities
MAIN = """
import json, socket, sys
from pushserve_sandbox.worker.main import main
channel, listener = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])
main(channel, listener, json.loads(sys.argv[3]))
"""


class Worker:
    """A worker process of the code in `server`, and one connection to it."""

    def __init__(self, name: str, server: Path, folder: Path) -> None:
        model = folder / name
        if not model.exists():
            model.mkdir()
            for file, data in models.files(name, "worker").items():
                (model / file).write_bytes(data)
        spec = {"folder": str(model), "format": "joblib", "artifact": "model.joblib"}
        path = str(folder / f"{name}-{len(list(folder.iterdir()))}.sock")
        self.channel, theirs = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as listener, theirs:
            listener.bind(path)
            listener.listen()
            fds = (theirs.fileno(), listener.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *map(str, fds), json.dumps(spec)],
                pass_fds=fds,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(server)},
            )
        said = messages.receive(self.channel, 60)
        assert said is not None and said["ready"], said
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        _, rows = models.MODELS[name]()
        body = encode_arrays(BOTH, 1, [Array(DType.FLOAT64, np.ascontiguousarray(rows[:1], "<f8"))])
        self.frame = b"".join(encode_frame(7, Kind.PREDICT, body))

    def size_of_answer(self) -> int:
        self.sock.sendall(self.frame)
        return len(self.sock.recv(1 << 16))

    def rate(self, outstanding: int, seconds: float) -> float:
        """Keep so many calls outstanding; give calls/s."""
        size = self.size_of_answer()
        self.sock.sendall(self.frame * outstanding)
        answered = rest = 0
        started = time.perf_counter()
        while (now := time.perf_counter()) - started < seconds:
            whole, rest = divmod(rest + len(self.sock.recv(1 << 20)), size)
            answered += whole
            self.sock.sendall(self.frame * whole)
        missing = outstanding * size - rest
        while missing:
            missing -= len(self.sock.recv(missing))
        return answered / (now - started)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.sock.close()
        self.channel.close()
        self.process.wait(10)


def server_of(revision: str, folder: Path) -> Path:
    """Unpack the server of a revision; give the folder for PYTHONPATH."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, "server"], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "server"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="HEAD", help="a revision of this repository")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each single run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--outstanding", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--models", nargs="+", default=list(models.MODELS))
    options = parser.parse_args()
    print(f"{'':10} {'outstanding':>11} {'calls/s':>9} {'before':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory(prefix="pushserve-bench-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        before = server_of(options.against, folder / "before")
        for name in options.models:
            pair = [Worker(name, server, folder) for server in (ROOT / "server", before)]
            for worker in pair:
                stack.callback(worker.close)
            for outstanding in options.outstanding:
                rates = [
                    [worker.rate(outstanding, options.seconds) for worker in pair]
                    for _ in range(options.rounds)
                ]
                new, old = (statistics.median(column) for column in zip(*rates, strict=True))
                ratio = statistics.median(a / b for a, b in rates)
                print(f"{name:10} {outstanding:11} {new:9,.0f} {old:9,.0f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
