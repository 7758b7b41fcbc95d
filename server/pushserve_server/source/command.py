"""Git command: in a clean environment, bounded, stoppable, and gone when it returns."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, Final, Self, cast

from git.cmd import Git

_TICK: Final = 0.05  # a set `cancelled` or a passed deadline is seen this late at most, in seconds
_CHUNK: Final = 1 << 16
_MAX_STDERR: Final = 1 << 16
_MEMORY: Final = 2 * 1024**3

# What lets git through a proxy, to a private certificate authority, or to an ssh agent.
_PASSED_ON: Final = (
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
)
_ENVIRONMENT: Final = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
}
_SETTINGS: Final = (
    "protocol.version=2",
    "transfer.fsckObjects=true",
    "transfer.credentialsInUrl=die",
    # A pack of its own for each fetch: RLIMIT_FSIZE then bounds the whole of it.
    "transfer.unpackLimit=1",
    "fetch.unpackLimit=1",
    # A redirect may lead off the operator's list.
    "http.followRedirects=false",
    "credential.helper=",
    # Larger blobs are streamed, not held in memory.
    "core.bigFileThreshold=16m",
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)


class GitFailed(Exception):
    """Git ended with an error. `stderr` is as git wrote it: not fit to be shown."""

    def __init__(self, status: int, stderr: str) -> None:
        super().__init__(f"git ended with status {status}")
        self.status = status
        self.stderr = stderr


class OutOfTime(Exception):
    """The deadline passed before git ended."""


class Cancelled(Exception):
    """The caller's event was set."""


class TooMuchOutput(Exception):
    """Git wrote more than the caller takes."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long git may run (a `time.monotonic()` moment), who may stop it, what it may write.

    `file_size` bounds each file that git writes, in bytes.
    """

    deadline: float
    cancelled: threading.Event
    file_size: int = 1024**3

    @classmethod
    def within(cls, timeout: float, cancelled: threading.Event, file_size: int = 1024**3) -> Budget:
        """A budget that ends `timeout` seconds from now."""
        return cls(time.monotonic() + timeout, cancelled, file_size)

    def renewed(self, timeout: float) -> Self:
        """The same, ending `timeout` seconds from now."""
        return replace(self, deadline=time.monotonic() + timeout)

    def check(self) -> None:
        """Return while there is time.

        Raises:
            Cancelled: the event is set.
            OutOfTime: the deadline has passed.
        """
        if self.cancelled.is_set():
            raise Cancelled
        if time.monotonic() >= self.deadline:
            raise OutOfTime

    def pause(self) -> None:
        """Wait a tick, less if cancelled."""
        self.check()
        self.cancelled.wait(_TICK)


def run_git(
    arguments: Sequence[str],
    budget: Budget,
    *,
    git_dir: Path | None = None,
    protocol: str = "",
    sink: Callable[[bytes], object] | None = None,
    stdin: BinaryIO | None = None,
) -> None:
    """Run git with our settings only; `sink` takes what it writes to stdout, in pieces.

    `protocol` is the only transport it may use; none, unless given.

    Raises:
        GitFailed: it ended with an error.
        OutOfTime, Cancelled: it was killed, with all its children.
    """
    with tempfile.TemporaryDirectory(prefix="pushserve-git-") as home:
        environment = _environment(home, git_dir, protocol)
        command = [*_bounds(budget), *_without_others(environment), "git"]
        for setting in _SETTINGS:
            command += ["-c", setting]
        process = Git(home).execute(
            [*command, *arguments],
            istream=stdin,
            as_process=True,
            env=environment,
            start_new_session=True,
        )
        child = cast("subprocess.Popen[bytes]", process.proc)
        with _killed_at_the_end(child):
            stderr = _pump(child, sink or (lambda _: None), budget)
    if child.returncode != 0:
        raise GitFailed(child.returncode, stderr)


def git_output(
    arguments: Sequence[str],
    budget: Budget,
    *,
    git_dir: Path | None = None,
    protocol: str = "",
    stdin: BinaryIO | None = None,
    limit: int = 64 * 1024**2,
) -> bytes:
    """What git writes to stdout, at most `limit` bytes; otherwise as `run_git`.

    Raises:
        TooMuchOutput: there is more.
    """
    output = bytearray()

    def take(chunk: bytes) -> None:
        output.extend(chunk)
        if len(output) > limit:
            raise TooMuchOutput

    run_git(arguments, budget, git_dir=git_dir, protocol=protocol, sink=take, stdin=stdin)
    return bytes(output)


def _bounds(budget: Budget) -> list[str]:
    size = _allowed(resource.RLIMIT_FSIZE, budget.file_size)
    memory = _allowed(resource.RLIMIT_AS, _MEMORY + 4 * budget.file_size)
    # util-linux sets the limits before git starts; a preexec_fn is not safe beside threads.
    # Git dies with the thread that waits for it, even if that is killed.
    limits = ["prlimit", f"--fsize={size}", f"--as={memory}", "--core=0"]
    return [*limits, "setpriv", "--pdeathsig", "KILL"]


def _allowed(kind: int, value: int) -> int:
    _, hard = resource.getrlimit(kind)
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _environment(home: str, git_dir: Path | None, protocol: str) -> dict[str, str]:
    values = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    values |= _ENVIRONMENT
    # "none" is no protocol of git's, while an empty value would mean its defaults.
    values |= {"HOME": home, "TMPDIR": home, "GIT_ALLOW_PROTOCOL": protocol or "none"}
    values["GIT_CEILING_DIRECTORIES"] = str(Path(home).parent)
    if git_dir is not None:
        values["GIT_DIR"] = str(git_dir.absolute())
    return values


def _without_others(environment: dict[str, str]) -> list[str]:
    # GitPython adds to the server's environment, which holds secrets and perhaps GIT_*. The names
    # to drop may stand in the process list, the values to set (a proxy's password) may not.
    return ["env", *(f"--unset={name}" for name in os.environ if name not in environment)]


@contextlib.contextmanager
def _killed_at_the_end(child: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if child.poll() is None:  # not reaped, so its id is still its own
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def _pump(child: subprocess.Popen[bytes], sink: Callable[[bytes], object], budget: Budget) -> str:
    stderr = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(cast("IO[bytes]", child.stdout), selectors.EVENT_READ, sink)
        selector.register(cast("IO[bytes]", child.stderr), selectors.EVENT_READ, stderr.extend)
        while selector.get_map():
            budget.check()
            for key, _ in selector.select(_TICK):
                chunk = os.read(key.fd, _CHUNK)
                key.data(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            del stderr[:-_MAX_STDERR]
    while child.poll() is None:
        budget.check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_TICK)
    return stderr.decode(errors="replace")
