"""Fork server: has imported what the server's other processes need, and forks each of them.

    python -m pushserve_server.processes.fork_server DATABASE_KIND HEARTBEAT_FD

So the imports are made once, in time and in memory, and a process that is started again is there
at once. It has one thread, because a fork copies only one, and it knows no secret: settings go
to those that it forks.

Standard input is a socket to the supervisor, which asks by

    {"fork": number, "module": name} + the process's standard input, its heartbeats

and is answered by {"forked": number, "pid": n} + a descriptor of the process (pidfd), or by
{"failed": number, "error": text}, and at its end by {"ended": number, "code": n}. When the
supervisor hangs up, the fork server ends; what it has forked stops by its own standard input.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.forking import insist_on_one_thread
from pushserve_runtime.messages import SMALL, Inbox
from pushserve_server.errors import Unavailable
from pushserve_server.processes.boot import Boot, begin
from pushserve_server.processes.drivers import leave_out_unused
from pushserve_server.supervision.heartbeat import BEAT_EVERY, Heartbeat, Heartbeats

logger = logging.getLogger(__name__)

MODULES: Final = (
    "pushserve_server.processes.frontend_process",
    "pushserve_server.processes.deployer_process",
    "onnxruntime",  # which frontends import at their start
)
_LONGEST_NAME: Final = 15
"""Of a process, as the kernel keeps it."""


@dataclass(frozen=True, slots=True)
class _Forked:
    """What a process that was just forked is to do, in that process."""

    module: str
    stdin: int
    heartbeats: int


class ForkServer:
    """The loop that forks, and reaps what it has forked."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._inbox = Inbox(SMALL)
        self._selector = selectors.DefaultSelector()
        self._pidfds: set[int] = set()
        self._forked: _Forked | None = None
        self._gone = False

    def run(self, heartbeat: Heartbeat) -> _Forked | None:
        """Serve until the supervisor hangs up: None; returns in each forked process as well."""
        self._watch(self._supervisor.fileno(), self._read)
        while not self._gone:
            for key, _ in self._selector.select(BEAT_EVERY):
                key.data()
                if self._forked is not None:
                    return self._forked
            heartbeat.beat()
        return None

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, action)

    def _read(self) -> None:
        self._gone = not self._inbox.read(self._supervisor)
        while not self._gone and (request := self._inbox.take()) is not None:
            stdin, heartbeats = self._inbox.fds[:2]
            del self._inbox.fds[:2]
            self._fork(request["fork"], _Forked(request["module"], stdin, heartbeats))
            if self._forked is not None:
                return

    def _fork(self, number: int, what: _Forked) -> None:
        # Held back until it handles them itself: none is lost, and none ends it by our rules.
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            pid = os.fork()
            if not pid:
                self._become(what)
                return
        except OSError as error:
            self._answer({"failed": number, "error": str(error)})
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            if self._forked is None:
                for fd in (what.stdin, what.heartbeats):
                    os.close(fd)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # nobody could end it
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._answer({"failed": number, "error": str(error)})
            return
        self._pidfds.add(pidfd)
        self._watch(pidfd, lambda: self._reap(number, pid, pidfd))
        self._answer({"forked": number, "pid": pid}, [pidfd])

    def _become(self, what: _Forked) -> None:
        """Let go, in a forked process, of all that is the fork server's."""
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # Ctrl-C is for the supervisor
        self._selector.close()
        self._supervisor.close()
        self._inbox.close()
        for fd in self._pidfds:
            os.close(fd)
        self._forked = what

    def _reap(self, number: int, pid: int, pidfd: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(pidfd)
        self._pidfds.remove(pidfd)
        os.close(pidfd)
        self._answer({"ended": number, "code": os.waitstatus_to_exitcode(status)})

    def _answer(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        try:
            messages.send(self._supervisor, message, fds or [])
        except OSError:  # it has gone
            self._gone = True


_IGNORED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""By the fork server: it ends with the supervisor, and what it has forked drains before."""


def main() -> None:
    """Import, then fork whatever the supervisor asks for."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    leave_out_unused(sys.argv[1])
    heartbeats = Heartbeats(int(sys.argv[2]))
    _import_all()
    heartbeats.ready()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as supervisor:
        forked = ForkServer(supervisor).run(heartbeats.loop("loop"))
    if forked is not None:
        _run(forked)


def _import_all() -> None:
    """Import everything, into memory that stays shared.

    Raises:
        RuntimeError: an import started a thread, which no forked process would have.
    """
    gc.disable()  # imports make much and drop little
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each process would write to all objects' headers, and so copy them
    gc.enable()
    insist_on_one_thread()


def _run(forked: _Forked) -> None:
    """Be the process that was asked for."""
    os.dup2(forked.stdin, sys.stdin.fileno())
    os.close(forked.stdin)
    boot = Boot.from_json(sys.stdin.buffer.readline(), forked.heartbeats)
    Path("/proc/self/comm").write_text(boot.name[:_LONGEST_NAME])
    begin(boot)
    run = importlib.import_module(forked.module).main
    try:
        run(boot)
    except Unavailable as error:
        # The registry's database, most likely; the supervisor starts it again when that is back.
        logger.error("%s", error.message)  # noqa: TRY400 (its text says all)
        sys.exit(1)


if __name__ == "__main__":
    main()
