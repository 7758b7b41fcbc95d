"""Sandbox client: starts jobs in the zygote and watches them.

A `Job` lives as long as its connection to the zygote: whoever closes it, or dies, ends the
job with it.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from pushserve_runtime import messages
from pushserve_runtime.bounded_json import JsonLimit
from pushserve_runtime.job_policy import Policy as JobPolicy
from pushserve_runtime.job_policy import job_environment
from pushserve_runtime.messages import ChannelError
from pushserve_server.errors import Unavailable
from pushserve_server.job_output import JobOutput
from pushserve_server.unix_sockets import listen

__all__ = [
    "Exit",
    "Job",
    "JobEnvironment",
    "JobPolicy",
    "SandboxClient",
    "end_zygote",
    "is_ready",
    "start_zygote",
]

SOCKET_NAME: Final = "zygote.sock"
BACKLOG: Final = 128
_START_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a job ended: with `code`, or by `signal`. `max_rss` is in bytes."""

    code: int | None
    signal: int | None
    max_rss: int
    cpu_seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and well."""
        return self.code == 0


class Job:
    """One running job: its process, the socket to it, and what it prints."""

    def __init__(
        self, pid: int, control: socket.socket, job_channel: socket.socket, output: JobOutput
    ) -> None:
        self.pid = pid
        self.channel = job_channel
        self.output = output
        self._control = control
        self._exit: Exit | None = None

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when the job has ended."""
        return self._control.fileno()

    def send(
        self, message: Mapping[str, Any], timeout: float = 10.0, fds: Sequence[int] = ()
    ) -> None:
        """Send one message to the job, and descriptors with it.

        Raises:
            Unavailable: it has ended, or did not read for `timeout` seconds.
        """
        self.channel.settimeout(timeout)
        try:
            messages.send(self.channel, message, fds)
        except OSError as error:
            raise Unavailable(f"the job {self.pid} has ended or does not read") from error
        finally:
            self.channel.settimeout(None)

    def receive(
        self, timeout: float | None = None, limit: JsonLimit = messages.LARGE
    ) -> dict[str, Any] | None:
        """Wait for the job's next message; None when it has closed its side or ended.

        Raises:
            TimeoutError: nothing arrived in time (seconds).
            ChannelError: it sent something else than a message, or one over the limit.
        """
        return messages.receive(self.channel, timeout, limit)

    def receive_into(self, file: BinaryIO, size: int, timeout: float) -> None:
        """Write bytes that a message has announced to `file`.

        Raises:
            ChannelError: they did not arrive in time (seconds).
        """
        messages.receive_into(self.channel, size, file, timeout)

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Wait for the job's end; None if it still runs after `timeout` seconds.

        Raises:
            Unavailable: the zygote has ended, and the job with it.
        """
        if self._exit is None:
            try:
                message = messages.receive(self._control, timeout, messages.SMALL)
            except TimeoutError:
                return None
            if message is None:
                raise Unavailable("the zygote has ended, and its jobs with it")
            self._exit = _exit_from_json(message["exit"])
        return self._exit

    def kill(self) -> None:
        """Have the job killed; `wait` then tells its end. May be called again."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both sockets, which kills the job if it still runs; log the rest of its output."""
        self.kill()
        self._control.close()
        self.channel.close()
        self.output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SandboxClient:
    """The zygote that listens at `socket_path`."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def start(
        self,
        kind: str,
        spec: Mapping[str, Any],
        policy: JobPolicy,
        fds: Sequence[int] = (),
        log_as: Mapping[str, object] | None = None,
    ) -> Job:
        """Start a job of `kind` ("build", "worker"); `fds` go to it, after its channel.

        `log_as` says whose the lines are that it prints, as {"model": "iris", …}.

        Raises:
            Unavailable: there is no zygote, or it could not fork.
            ValueError: it refuses the request.
        """
        request = {"kind": kind, "spec": dict(spec), "policy": policy.to_json(), "output": True}
        try:
            return self._start(request, fds, log_as or {})
        except (OSError, ChannelError) as error:
            raise Unavailable(
                f"the sandbox's zygote does not answer at {self._path}: {error}",
                reason="SANDBOX_UNAVAILABLE",
            ) from error

    def _start(
        self, request: Mapping[str, Any], fds: Sequence[int], log_as: Mapping[str, object]
    ) -> Job:
        with ExitStack() as kept, ExitStack() as given:
            output, printed = os.pipe()
            kept.callback(os.close, output)
            given.callback(os.close, printed)
            ours, theirs = socket.socketpair()
            kept.enter_context(ours)
            given.enter_context(theirs)
            control = kept.enter_context(socket.socket(socket.AF_UNIX))
            control.settimeout(_START_TIMEOUT)
            control.connect(str(self._path))
            messages.send(control, request, [theirs.fileno(), *fds, printed])
            given.close()
            pid = _pid(messages.receive(control, _START_TIMEOUT, messages.SMALL))
            control.settimeout(None)
            kept.pop_all()
        return Job(pid, control, ours, JobOutput(output, {**log_as, "pid": pid}))


def _pid(answer: dict[str, Any] | None) -> int:
    if answer is None:
        raise ConnectionResetError("it hung up")
    if "unavailable" in answer:
        raise Unavailable(f"the sandbox: {answer['unavailable']}", reason="SANDBOX_UNAVAILABLE")
    if "error" in answer:
        raise ValueError(f"the zygote refuses the job: {answer['error']}")
    return int(answer["pid"])


def _exit_from_json(data: Mapping[str, Any]) -> Exit:
    return Exit(data.get("code"), data.get("signal"), data["max_rss"], data["cpu_seconds"])


@dataclass(frozen=True, slots=True)
class JobEnvironment:
    """Where jobs run: a Python, and the only folders that they import packages from.

    These hold pushserve_runtime, pushserve_sandbox and pyseccomp (`folders[0]`, which comes
    first), and what models need. Nothing of them is run before it is imported: no .pth file, no
    sitecustomize.
    """

    python: Path
    folders: tuple[Path, ...]

    def command(self) -> list[str]:
        """Give the command that runs a zygote there, without its options."""
        folders = json.dumps([str(folder) for folder in self.folders])
        return [str(self.python), "-I", "-S", "-B", "-c", _RUN_FROM_FOLDERS, folders]


_RUN_FROM_FOLDERS: Final = """
import json, sys
sys.path += json.loads(sys.argv.pop(1))
from pushserve_sandbox.zygote.main import main
main()
"""
_OWN_COMMAND: Final = [sys.executable, "-I", "-B", "-m", "pushserve_sandbox.zygote.main"]


def start_zygote(
    run_dir: Path, *, environment: JobEnvironment | None = None, test_jobs: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a zygote that listens at `run_dir`/zygote.sock; it takes jobs when `is_ready` says so.

    It ends when the process's `stdin` is closed, so also with the caller. Without an
    `environment`, its jobs run in this Python. `test_jobs` is a folder of modules whose functions
    may be jobs, named "module:function".
    """
    command = _OWN_COMMAND if environment is None else environment.command()
    if test_jobs is not None:
        command = [*command, "--allow-test-jobs", str(test_jobs)]
    with listen(run_dir / SOCKET_NAME, BACKLOG) as listener:
        return subprocess.Popen(
            [*command, "--listen-fd", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=job_environment(),
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the supervisor, which drains
        )


def is_ready(process: subprocess.Popen[bytes], timeout: float = 0.0) -> bool:
    """Say whether a zygote takes jobs by now, or within `timeout` seconds. Until it does, ask.

    Raises:
        Unavailable: it ended.
    """
    assert process.stdout is not None  # noqa: S101 (it was opened as a pipe)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(timeout):
            return False
    said = os.read(process.stdout.fileno(), 4096)
    if not said:
        raise Unavailable("the zygote ended; its standard error says why")
    return b"ready\n" in said


def end_zygote(process: subprocess.Popen[bytes]) -> None:
    """Kill the zygote, which kills its jobs, and collect it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
