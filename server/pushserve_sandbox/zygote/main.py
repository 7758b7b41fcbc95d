"""Zygote: has imported scikit-learn, and forks one jailed child for each job.

    python -I -m pushserve_sandbox.zygote.main --listen-fd N

It is exec'd by the supervisor with an empty environment, before it has read a secret or
opened a socket. It has one thread, because a fork copies only one. Standard output says
"ready" when it takes jobs; when standard input ends, so does it, and its children with it.

One connection is one job. The client sends one message (`channel`) and descriptors:

    {"kind": "build" | "worker", "spec": {…}, "policy": {…}, "output": bool}
        + the job's channel, listener…, and what it prints to

and is answered by {"pid": n}, {"error": text} where the request is wrong, or {"unavailable": text}
where the machine lacks something just now; and at the child's end by
{"exit": {"code" | "signal", "max_rss": bytes, "cpu_seconds": s}}. When the client hangs up,
or shuts down its sending side, the child is killed.

The supervisor keeps one connection without a job: on it {"ask": "alive"} is answered by
{"alive": true}, and {"ask": "listen"} with a socket by {"listening": true}: from then on that
one is listened at, because the file of the one before has gone.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.messages import ChannelError, Inbox
from pushserve_sandbox.isolation import jail
from pushserve_sandbox.zygote import child
from pushserve_sandbox.zygote.imports import preload

log = logging.getLogger("pushserve.zygote")

_ACCEPT_AGAIN: Final = 1.0
"""After a connection could not be accepted, in seconds."""


class _Unavailable(Exception):
    """The request is right, and cannot be met just now."""


@dataclass(eq=False, slots=True)
class _Client:
    """One connection and, once it has asked, its child."""

    sock: socket.socket
    inbox: Inbox = field(default_factory=Inbox)
    pid: int = 0
    pidfd: int = -1


class Zygote:
    """The loop that takes requests and reaps children."""

    def __init__(self, listener: socket.socket, *, test_jobs: bool = False) -> None:
        self._listener = listener
        self._test_jobs = test_jobs
        self._selector = selectors.DefaultSelector()
        self._accept_at = float("inf")

    def run(self, lifeline: int) -> None:
        """Serve until `lifeline`, a pipe's end, is closed by its other side."""
        self._listen_at(self._listener)
        self._selector.register(lifeline, selectors.EVENT_READ, None)
        while True:
            paused = self._accept_at < float("inf")
            for key, _ in self._selector.select(_ACCEPT_AGAIN if paused else None):
                if key.data is None:
                    return
                # An earlier event of this round may have ended this one's client.
                if key.fd in self._selector.get_map():
                    self._handle(key.data)
            if self._accept_at <= time.monotonic():
                self._listen_at(self._listener)

    def _listen_at(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._accept_at = float("inf")
        self._watch(listener, self._accept)

    def _watch(self, what: socket.socket | int, action: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, action)

    def _handle(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            log.exception("one request failed; the zygote continues")

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Too many open files, most likely. Asked at once, the kernel would say so again.
            log.warning("no connection can be accepted: %s", error.strerror)
            self._selector.unregister(self._listener)
            self._accept_at = time.monotonic() + _ACCEPT_AGAIN
            return
        client = _Client(sock)
        self._watch(sock, lambda: self._read(client))

    def _read(self, client: _Client) -> None:
        """Take more of a request. After the request, anything means: end the child."""
        try:
            if client.pid or not self._receive(client):
                self._hang_up(client)
                return
            while not client.pid and (message := client.inbox.take()) is not None:
                if "ask" in message:
                    self._serve(client, message)
                else:
                    self._start(client, message)
        except _Unavailable as error:
            _answer(client, {"unavailable": str(error)})
            self._forget(client)
        except ValueError as error:
            _answer(client, {"error": str(error)})
            self._forget(client)

    def _receive(self, client: _Client) -> bool:
        try:
            return client.inbox.read(client.sock)
        except OSError as error:
            raise _Unavailable(f"the job's descriptors cannot be taken: {error}") from error

    def _serve(self, client: _Client, message: dict[str, Any]) -> None:
        """Do what the supervisor asks for."""
        if message["ask"] == "alive":
            _answer(client, {"alive": True})
        elif message["ask"] == "listen" and client.inbox.fds:
            with suppress(KeyError):  # while none is accepted it is not watched
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listen_at(socket.socket(fileno=client.inbox.fds.pop(0)))
            client.inbox.close()
            _answer(client, {"listening": True})
        else:
            raise ChannelError("nobody asks that")

    def _start(self, client: _Client, message: dict[str, Any]) -> None:
        request = child.JobRequest.from_json(message, test_jobs=self._test_jobs)
        fds = client.inbox.fds
        if len(fds) < 1 + request.output:
            raise ChannelError("the job's channel did not come with the request")
        try:
            client.pid = self._fork(request, fds)
            client.pidfd = os.pidfd_open(client.pid)
        except OSError as error:
            if client.pid:  # it has no pidfd, so nobody would reap it
                os.kill(client.pid, signal.SIGKILL)
                os.waitpid(client.pid, 0)
            raise _Unavailable(f"the job cannot be started: {error}") from error
        client.inbox.close()
        self._watch(client.pidfd, lambda: self._reap(client))
        _answer(client, {"pid": client.pid})

    def _fork(self, request: child.JobRequest, fds: list[int]) -> int:
        gc.freeze()  # the collector then leaves what is shared with the child untouched
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            child.run(request, fds, parent)
        return pid

    def _hang_up(self, client: _Client) -> None:
        """Kill the child; it is reaped when it has ended."""
        if not client.pid:
            self._forget(client)
            return
        self._selector.unregister(client.sock)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(client.pidfd, signal.SIGKILL)

    def _reap(self, client: _Client) -> None:
        _, status, usage = os.wait4(client.pid, 0)
        self._selector.unregister(client.pidfd)
        os.close(client.pidfd)
        _answer(client, {"exit": _exit(status, usage)})
        self._forget(client)

    def _forget(self, client: _Client) -> None:
        client.inbox.close()
        with suppress(KeyError):
            self._selector.unregister(client.sock)
        client.sock.close()


def _exit(status: int, usage: resource.struct_rusage) -> dict[str, Any]:
    code = os.waitstatus_to_exitcode(status)
    return {
        **({"code": code} if code >= 0 else {"signal": -code}),
        "max_rss": usage.ru_maxrss * 1024,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
    }


def _answer(client: _Client, message: dict[str, Any]) -> None:
    # Short enough to fit into any socket's buffer; a client that has gone needs no answer.
    client.sock.setblocking(False)
    with suppress(OSError):
        messages.send(client.sock, message)


def main() -> None:
    """Import everything, say "ready", and serve."""
    parser = argparse.ArgumentParser(prog="pushserve_sandbox.zygote.main")
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--allow-test-jobs", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as all of the server
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    problems = jail.supported()
    if problems:
        sys.exit("models cannot be run on this machine: " + "; ".join(problems))
    preload()
    if options.allow_test_jobs:
        sys.path.append(str(options.allow_test_jobs))
    gc.collect()
    listener = socket.socket(fileno=options.listen_fd)
    zygote = Zygote(listener, test_jobs=options.allow_test_jobs is not None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    zygote.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
