"""A server that answers for the models over a wire, and what it does under load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import arrivals
import load
import models
import processes
import wires


@dataclass(frozen=True)
class Running:
    """A server that has answered for its models; `start` is how long that took, in seconds."""

    address: str
    pid: int
    start: float


@dataclass(frozen=True)
class Subject:
    """One server on one wire. `pids` are what its processor time is counted from."""

    title: str
    address: str
    wire: wires.Wire
    pids: Callable[[], list[int]]

    @classmethod
    def of(cls, title: str, running: Running, wire: wires.Wire) -> Subject:
        return cls(title, running.address, wire, lambda: processes.tree(running.pid))

    def measure(
        self, model: str, callers: int, seconds: float, *, rows: int = 1, messages: int = 1
    ) -> load.Load:
        """Load it with one model's rows, and insist that every call was answered."""
        size = messages * len(load.frame(self.wire.ask(self.address, model, rows)))
        message = self.wire.request(model, models.rows(model, rows))
        result = load.run(
            self.address, self.wire.method, message,
            callers=callers, seconds=seconds, messages=messages,
        )  # fmt: skip
        # h2load does not see the status; a call that failed brought no bytes.
        assert result.failed == 0, (self.title, result)
        assert result.reply_bytes > 0.999 * size, (self.title, result, size)
        return result

    def measure_with_cpu(self, model: str, callers: int, seconds: float) -> tuple[load.Load, float]:
        """Likewise; give the server's processor time as well, in microseconds a call."""
        before = processes.cpu_seconds(self.pids())
        result = self.measure(model, callers, seconds)
        used = processes.cpu_seconds(self.pids()) - before
        # The warm-up burns processor time as well.
        share = seconds / (seconds + load.WARM_UP)
        return result, used * share / result.calls * 1e6

    def arriving(self, model: str, rate: float, seconds: float) -> load.Load:
        """Load it with calls at a fixed rate, whether or not it answers."""
        message = self.wire.request(model, models.rows(model, 1))
        return arrivals.run(self.address, self.wire.method, message, rate=rate, seconds=seconds)
