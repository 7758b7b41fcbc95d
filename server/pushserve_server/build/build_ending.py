"""Build ending: why a build child ended without an answer, in words for the model's author."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from pushserve_server.build.build_report import invalid_answer
from pushserve_server.errors import DeploymentFailed
from pushserve_server.sandbox_client import Exit

_EXIT_RAISED: Final = 70
_EXIT_JAIL: Final = 71  # both as pushserve_sandbox.zygote.child has it, without its imports


@dataclass(frozen=True, slots=True)
class Limits:
    """What one build may use: seconds, bytes of address space, and bytes of a graph."""

    timeout: float
    memory: int
    graph: int = 0


def judge(end: Exit | None, limits: Limits, *, began: bool, raised: str = "") -> DeploymentFailed:
    """Say why a child ended without an answer; None stands for one that is still there.

    `began` tells whether it had said that it loads the model: it was then in its jail, and what
    it exits with is the model's choice. `raised` is the class of what it said that it had raised.
    """
    if end is None:
        return invalid_answer("it closed its channel")
    if end.code == _EXIT_JAIL and not began:
        return DeploymentFailed(
            "SANDBOX_UNAVAILABLE",
            "this server could not lock the model's process in",
            "The server's operator runs `pushserve doctor`, which says what the machine lacks.",
        )
    if end.signal is not None:
        return _killed(end, end.signal, limits)
    if end.code == _EXIT_RAISED and raised:
        return _raised(raised)
    return DeploymentFailed(
        "SANDBOX_CRASHED",
        f"the process that loaded the model ended by itself with exit code {end.code}",
        "The model's code must not end the process (os._exit, sys.exit).",
    )


def _killed(end: Exit, number: int, limits: Limits) -> DeploymentFailed:
    took_all = end.cpu_seconds >= limits.timeout - 1
    if took_all and number in (signal.SIGXCPU, signal.SIGKILL):
        return timed_out(limits)
    if number == signal.SIGKILL:
        return DeploymentFailed(
            "SANDBOX_MEMORY",
            f"the build was killed by the system after it took {end.max_rss // 1024**2} MiB",
            "Make the model smaller; or ask the server's operator for a machine with more memory.",
        )
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return DeploymentFailed(
        "SANDBOX_CRASHED",
        f"the process that loaded the model crashed ({name})",
        "Load the model in a fresh Python with the server's package versions; a native "
        "library in it crashes, or it was saved by another version of one.",
    )


def _raised(name: str) -> DeploymentFailed:
    """Say what a build's exception means that no part of it has taken for the model's."""
    if name == "MemoryError":
        return DeploymentFailed(
            "SANDBOX_MEMORY",
            "it needs too much memory",
            "Make the model smaller; or ask the server's operator for more (sandbox_memory).",
        )
    if name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
        return DeploymentFailed(
            "SANDBOX_CRASHED",
            f"the model's code raised {name}, which ended its process",
            "The model's code must not end the process (os._exit, sys.exit).",
        )
    return DeploymentFailed(
        "BUILD_FAILED",
        f"the build itself went wrong ({name})",
        "The server's operator finds more in its log; then register it again with --retry.",
    )


def timed_out(limits: Limits) -> DeploymentFailed:
    """Say that a build took too long."""
    return DeploymentFailed(
        "SANDBOX_TIMEOUT",
        f"loading and checking the model took more than {limits.timeout:g} s",
        "Make the model or its examples smaller; or ask the server's operator for a higher "
        "build_timeout.",
    )
