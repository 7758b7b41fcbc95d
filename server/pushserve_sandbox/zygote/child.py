"""Child: one job in a forked process, from the fork to its end."""

from __future__ import annotations

import importlib
import os
import random
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np

from pushserve_runtime import messages
from pushserve_runtime.job_policy import Policy
from pushserve_sandbox.isolation import jail
from pushserve_sandbox.zygote.imports import JOBS
from pushserve_sandbox.zygote.printed_lines import send_output_to

EXIT_FAILED: Final = 70
"""The job's own code raised (EX_SOFTWARE); its channel has had {"failed": …}."""
EXIT_JAIL: Final = 71
"""The jail could not be entered (EX_OSERR); likewise."""
_TEXT_LIMIT: Final = 4000


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a client asks the zygote for: `main(channel, *listeners, spec)` of `kind`, jailed.

    With `output`, the last descriptor is where that is to go which it prints.
    """

    kind: str
    spec: dict[str, Any]
    policy: Policy
    output: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, test_jobs: bool) -> JobRequest:
        """Read a request; "module:function" as a kind is for tests only.

        Raises:
            ValueError: it is malformed, or the kind is not known.
        """
        kind, spec, policy = data.get("kind"), data.get("spec", {}), data.get("policy", {})
        if not isinstance(kind, str) or not (kind in JOBS or (test_jobs and ":" in kind)):
            raise ValueError(f"no job of kind {kind!r}; there are " + ", ".join(JOBS))
        if not isinstance(spec, dict) or not isinstance(policy, dict):
            raise ValueError("spec and policy are JSON objects")  # noqa: TRY004 — a message's form
        return cls(kind, spec, Policy.from_json(policy), data.get("output") is True)


def run(request: JobRequest, fds: Sequence[int], parent: int) -> NoReturn:
    """Enter the jail, run the job and end the process. `fds[0]` is the channel.

    Whatever it raises goes to the channel as {"failed": {"type", "message", "traceback"}}.
    """
    code = EXIT_JAIL
    try:
        main = _main(request.kind)
        np.random.seed()  # noqa: NPY002 — every child would else draw the same numbers
        random.seed()
        _enter_jail(request, fds, parent)
        sockets = [socket.socket(fileno=fd) for fd in _sockets(request, fds)]
        code = EXIT_FAILED
        main(*sockets, request.spec)
        code = 0
    except BaseException as error:  # noqa: BLE001 — the edge: nothing may return into the zygote
        _tell(fds[0], error)
    finally:
        os._exit(code)


def _sockets(request: JobRequest, fds: Sequence[int]) -> Sequence[int]:
    return fds[:-1] if request.output else fds


def _enter_jail(request: JobRequest, fds: Sequence[int], parent: int) -> None:
    output = fds[-1] if request.output else None
    jail.enter(request.policy, _sockets(request, fds), parent, output=output)
    if output is not None:
        send_output_to(1)


def _main(kind: str) -> Callable[..., object]:
    module, _, function = (f"{JOBS[kind]}:main" if kind in JOBS else kind).partition(":")
    main: Callable[..., object] = getattr(importlib.import_module(module), function)
    return main


def _tell(fd: int, error: BaseException) -> None:
    trace = "".join(traceback.format_tb(error.__traceback__))
    failed = {
        "type": type(error).__name__,
        "message": str(error)[:_TEXT_LIMIT],
        "traceback": trace[-_TEXT_LIMIT:],
    }
    with suppress(Exception), socket.socket(fileno=os.dup(fd)) as sock:
        messages.send(sock, {"failed": failed})
    sys.stderr.flush()
