"""Closed-loop load by h2load: raw gRPC frames over HTTP/2.

For calls at a fixed rate see arrivals.py: h2load's own `--rps` sends what is due in bursts
(its timer has a step of 10 ms, and every connection's runs in phase).
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WARM_UP = 0.5
"""Seconds before what is measured."""


@dataclass(frozen=True)
class Load:
    """What one run measured. Times are in microseconds."""

    calls: int
    failed: int
    seconds: float
    p50: float
    p99: float
    p999: float
    reply_bytes: float
    """DATA bytes a call; a gRPC error has none."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def frame(message: bytes) -> bytes:
    """Give a gRPC message as it stands in an HTTP/2 body."""
    return struct.pack(">BI", 0, len(message)) + message


def run(
    address: str,
    method: str,
    message: bytes,
    *,
    callers: int,
    seconds: float,
    messages: int = 1,
    headers: Sequence[str] = (),
) -> Load:
    """Call `method` ("package.Service/Method") with one message, again and again.

    `messages` are how many times a call brings it, where the method takes a stream; `headers`
    are sent besides gRPC's own ("name: value").

    Each caller has a connection of its own, and sends when the last call was answered.
    h2load counts HTTP 200 as success, which a gRPC error is as well: compare `reply_bytes`
    with an answer that was looked at.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(frame(message) * messages)
        command = [
            "h2load", f"--clients={callers}", "--threads=1", "--max-concurrent-streams=1",
            f"--duration={round((WARM_UP + seconds) * 1000)}ms",
            f"--data={body}", "--header=content-type: application/grpc", "--header=te: trailers",
            *(f"--header={header}" for header in headers),
            f"--log-file={log}", f"http://{address}/{method}",
        ]  # fmt: skip
        out = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + 60
        ).stdout
        rows = np.loadtxt(log, dtype=np.int64, ndmin=2, usecols=(0, 1, 2))
    assert rows.size, out
    data = re.search(r"\((\d+)\) data$", out, re.MULTILINE)
    assert data, out
    return _measured(rows, seconds, int(data[1]) / len(rows))


def _measured(rows: np.ndarray, seconds: float, reply_bytes: float) -> Load:
    """Take the calls that ended after the warm-up. (h2load's own counts its bytes as well.)"""
    ends = rows[:, 0] + rows[:, 2]
    rows = rows[ends >= rows[0, 0] + WARM_UP * 1e6]
    answered = rows[rows[:, 1] == 200]
    p50, p99, p999 = np.percentile(answered[:, 2], [50, 99, 99.9])
    return Load(
        calls=len(rows),
        failed=len(rows) - len(answered),
        seconds=seconds,
        p50=float(p50),
        p99=float(p99),
        p999=float(p999),
        reply_bytes=reply_bytes,
    )
