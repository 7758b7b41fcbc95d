"""Supervisor: starts the server's processes, starts them again, and stops them in order."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pushserve_server import data_layout
from pushserve_server.build.bundles import Bundles
from pushserve_server.errors import Unavailable
from pushserve_server.processes.boot import Boot, set_up_logging, start
from pushserve_server.processes.transport_choice import choose_transport
from pushserve_server.registry import Registry
from pushserve_server.registry.notifications import ChangeListener
from pushserve_server.sandbox_client import SandboxClient, end_zygote, is_ready, start_zygote
from pushserve_server.settings import ConfigError, Settings, split_address
from pushserve_server.source.rules import check_rules
from pushserve_server.wakeups import Wakeups, wait
from pushserve_server.workers.backoff import Backoff
from pushserve_server.workers.planner import WorkerPlanner
from pushserve_server.workers.pool import Workers

logger = logging.getLogger(__name__)

_TICK: Final = 0.1
_STOP_MARGIN: Final = 5.0
_ZYGOTE_PATIENCE: Final = 60.0
"""For its imports, which take 2 s, in seconds."""
_RUN_ROOT: Final = Path("/tmp")  # noqa: S108 (mkdtemp makes the name below it)
_RUN_PREFIX: Final = "pushserve-"


@dataclass(slots=True)
class Child:
    """A process that is to run, and the one that does."""

    module: str
    boot: Boot
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    def tend(self, now: float) -> int | None:
        """Start it when it does not run; give the exit code if it has just ended."""
        ended = None
        if self.process is not None:
            ended = self.process.poll()
            if ended is not None:
                self.backoff.ended(self.started_at, now)
                self.process = None
        elif self.backoff.may_start(now):
            self.started_at = now
            self.process = start(self.module, self.boot)
        return ended

    def stop(self, patience: float) -> None:
        """Ask it to stop; kill it when it does not within `patience` seconds."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop; killing it", self.boot.name)
            self.process.kill()
            self.process.wait()
        self.process = None


class Supervisor:
    """Runs one server until it is told to stop."""

    def __init__(self, settings: Settings, run_dir: Path, registry: Registry, port: int) -> None:
        self._registry = registry
        self._replica = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._run_dir = run_dir
        self._settings = settings
        self._transport = choose_transport(settings, settings.data_dir)
        self._wakeups = Wakeups(run_dir)
        self._changes = ChangeListener(settings.database, self._wakeups.wake)
        self._stopping = False
        self._zygote_process: subprocess.Popen[bytes] | None = None
        self._zygote_since = 0.0
        self._zygote_ready = self._had_zygote = False
        zygote = SandboxClient(data_layout.zygote_socket(run_dir))
        self._workers = Workers(
            settings, run_dir, zygote, Bundles(data_layout.bundles_dir(settings))
        )
        self._planner = WorkerPlanner(settings, registry, self._workers, self._replica)
        self._frontends = [
            Child("pushserve_server.processes.frontend_process", self._boot(f"frontend-{i}", port))
            for i in range(settings.frontends)
        ]
        self._deployer = Child(
            "pushserve_server.processes.deployer_process", self._boot("deployer", port)
        )

    def _boot(self, role: str, port: int) -> Boot:
        return Boot(role, self._replica, self._run_dir, port, self._settings, self._transport)

    def stop(self) -> None:
        """Ask the loop to end, at its next turn. Signal handlers call this: it takes no lock."""
        self._stopping = True

    def run(self) -> None:
        """Keep everything running until `stop`, then drain."""
        with self._wakeups.listening("supervisor") as wakeup:
            self._changes.start()
            try:
                while not self._stopping:
                    self._step()
                    wait(wakeup, _TICK)
            finally:
                self._changes.stop()
                self._drain()

    def _step(self) -> None:
        now = time.monotonic()
        for child in (*self._frontends, self._deployer):
            code = child.tend(now)
            if code is not None:
                logger.warning("%s ended with code %d; starting it again", child.boot.name, code)
                self._registry.frontend_stopped(child.boot.id)
        self._tend_zygote(now)  # after the children: they start while it imports
        if not self._zygote_ready:
            return  # whoever asked it for a worker now would wait for seconds
        try:
            self._planner.step()
        except Exception:
            logger.exception("the registry cannot be read; workers stay as they are")
        self._workers.tend()

    def _tend_zygote(self, now: float) -> None:
        """Have a zygote run. One that never came up ends the server: nothing could be built."""
        process = self._zygote_process
        if process is None:
            self._zygote_process = start_zygote(self._run_dir)
            self._zygote_since, self._zygote_ready = now, False
        elif process.poll() is not None and self._had_zygote:
            logger.warning("the zygote ended; starting it again")
            end_zygote(process)
            self._zygote_process, self._zygote_ready = None, False
        elif not self._zygote_ready:
            self._zygote_ready = is_ready(process)
            self._had_zygote |= self._zygote_ready
            if not self._zygote_ready and now - self._zygote_since > _ZYGOTE_PATIENCE:
                raise Unavailable(f"the zygote was not ready within {_ZYGOTE_PATIENCE:g} s")

    def _drain(self) -> None:
        logger.info("stopping: calls in flight are finished first")
        patience = self._settings.drain_timeout + _STOP_MARGIN
        children = (*self._frontends, self._deployer)
        for child in children:
            if child.process is not None:
                child.process.terminate()
        for child in children:
            child.stop(patience)
        self._workers.close()
        if self._zygote_process is not None:
            end_zygote(self._zygote_process)
        self._registry.stop_replica(self._replica)


def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: the data directory or the port is taken.
    """
    set_up_logging(settings, "supervisor")
    check_rules(settings.sources)
    settings.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    with _lock(settings), _run_directory(settings) as run_dir, _reserve(settings.listen) as port:
        registry = Registry.open(settings.database)
        supervisor = Supervisor(settings, run_dir, registry, port)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        host, _ = split_address(settings.listen)
        _announce(settings, host, port, run_dir)
        try:
            supervisor.run()
        finally:
            data_layout.address_file(settings).unlink(missing_ok=True)
            registry.close()


def _announce(settings: Settings, host: str, port: int, run_dir: Path) -> None:
    file = data_layout.address_file(settings)
    temporary = file.with_suffix(".new")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    data = {"pid": os.getpid(), "listen": address, "run_dir": str(run_dir)}
    temporary.write_text(json.dumps(data))
    temporary.rename(file)
    logger.info("serving on %s", address)


@contextlib.contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    with data_layout.lock_file(settings).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another server runs on data_dir {settings.data_dir}; "
                "stop it, or give this one a data_dir of its own"
            ) from None
        yield


def _clean_up_after_killed(settings: Settings) -> None:
    """Remove what a server that was killed on this data directory left in /tmp."""
    file = data_layout.address_file(settings)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        run_dir = Path(json.loads(file.read_text())["run_dir"])
        if run_dir.parent == _RUN_ROOT and run_dir.name.startswith(_RUN_PREFIX):
            shutil.rmtree(run_dir, ignore_errors=True)
    file.unlink(missing_ok=True)


@contextlib.contextmanager
def _run_directory(settings: Settings) -> Iterator[Path]:
    """Make a directory with a short path: unix sockets allow about 100 characters."""
    _clean_up_after_killed(settings)
    path = Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=_RUN_ROOT))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _reserve(listen: str) -> Iterator[int]:
    """Hold the port, bound but not listening, for the frontends that share it.

    A first try without SO_REUSEPORT tells whether anybody has it.
    """
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(probe, host, port)
        holder = stack.enter_context(socket.socket(family))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(holder, host, port)
        yield holder.getsockname()[1]


def _bind(sock: socket.socket, host: str, port: int) -> None:
    try:
        sock.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "stop what uses the port, or set another one (PUSHSERVE_LISTEN, --listen)"
        ) from None
