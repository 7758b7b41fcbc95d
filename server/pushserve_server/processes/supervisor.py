"""Supervisor: starts the server's processes, starts them again, and stops them in order."""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from pushserve_server import data_layout
from pushserve_server.access.certificates import CertificateFiles, CertificateWatch
from pushserve_server.access.token_file import TokenFile
from pushserve_server.build.bundles import Bundles
from pushserve_server.errors import Unavailable
from pushserve_server.processes.boot import Boot, set_up_logging
from pushserve_server.processes.registry_start import open_registry
from pushserve_server.processes.transport_choice import choose_transport
from pushserve_server.registry import Registry
from pushserve_server.registry.notifications import ChangeListener
from pushserve_server.sandbox_client import SandboxClient, start_zygote
from pushserve_server.settings import ConfigError, Settings, split_address
from pushserve_server.source.rules import check_rules
from pushserve_server.supervision.child_process import ChildProcess
from pushserve_server.supervision.duty import Duty, DutyThread
from pushserve_server.supervision.forked_process import ForkedProcess, ForkServer
from pushserve_server.supervision.heartbeat import Heartbeats
from pushserve_server.supervision.listening_port import reserve_port
from pushserve_server.supervision.run_files import LockFile, announce, keep_folder, run_directory
from pushserve_server.supervision.zygote_process import ZygoteProcess
from pushserve_server.wakeups import Listener, Looks, Wakeups, wait
from pushserve_server.workers.planner import WorkerPlanner
from pushserve_server.workers.pool import Workers

logger = logging.getLogger(__name__)

_TICK: Final = 0.1
_STOP_MARGIN: Final = 5.0


class _Child(ChildProcess):
    """A frontend or the deployer."""

    def __init__(self, module: str, boot: Boot, fork_server: ForkServer) -> None:
        super().__init__(
            boot.name,
            self._start_next,
            start_timeout=boot.settings.start_timeout,
            hang_timeout=boot.settings.hang_timeout,
        )
        self._module = f"pushserve_server.processes.{module}"
        self._boot = boot
        self._fork_server = fork_server

    @property
    def id(self) -> str:
        """The name in the registry of the process that was started last."""
        return self._boot.id

    def _start_next(self, heartbeats: Heartbeats) -> ForkedProcess:
        self._boot = replace(self._boot, start=self._boot.start + 1)
        return self._fork_server.fork(self._module, self._boot.to_json(), heartbeats)


class Supervisor:
    """Runs one server until it is told to stop.

    Each duty has a guard and a back-off of its own (`supervision.duty`): what one of them raises
    ends neither it nor another. What waits for the registry or the zygote has a thread of its
    own, so that the processes are looked after whatever else hangs.
    """

    def __init__(
        self,
        settings: Settings,
        run_dir: Path,
        registry: Registry,
        port: int,
        lock: LockFile,
        *,
        fork_server: ForkServer,
        certificates: CertificateWatch | None = None,
    ) -> None:
        self._settings = settings
        self._certificates = certificates
        self._run_dir = run_dir
        self._registry = registry
        self._lock = lock
        self._fork_server = fork_server
        self._address = _address(settings, port)
        self._replica = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._stopping = self._hung_up = False
        self._wakeups = Wakeups(run_dir)
        registry.when_changed(self._wakeups.wake)
        self._changes = ChangeListener(
            settings.database, self._wakeups.wake, self._wakeups.note_heard
        )
        self._looks = Looks(self._wakeups)
        self._woken = True
        zygote_socket = data_layout.zygote_socket(run_dir)
        self._zygote = ZygoteProcess(
            lambda: start_zygote(run_dir),
            zygote_socket,
            start_timeout=settings.start_timeout,
            hang_timeout=settings.hang_timeout,
        )
        bundles = Bundles(data_layout.bundles_dir(settings))
        self._workers = Workers(settings, run_dir, SandboxClient(zygote_socket), bundles)
        self._planner = WorkerPlanner(settings, registry, self._workers, self._replica)
        transport = choose_transport(settings, settings.data_dir)
        boot = Boot("deployer", self._replica, run_dir, port, settings, transport)
        frontends = [replace(boot, name=f"frontend-{i}") for i in range(settings.frontends)]
        self._children = [
            *(_Child("frontend_process", frontend, fork_server) for frontend in frontends),
            _Child("deployer_process", boot, fork_server),
        ]
        self._ended: deque[str] = deque(maxlen=1000)
        self._registry_away = False
        self._planned = threading.Event()

    def stop(self) -> None:
        """Ask the loop to end, at its next turn. Signal handlers call this: it takes no lock."""
        self._stopping = True

    def hang_up(self) -> None:
        """Look at the certificate files, and say in the log what SIGHUP does; likewise."""
        self._hung_up = True

    def run(self) -> None:
        """Keep everything running until `stop`, then drain."""
        duties = self._duties()
        with self._wakeups.listening("supervisor") as wakeup:
            threads = self._threads(wakeup)
            self._changes.start()
            for thread in threads:
                thread.start()
            try:
                while not self._stopping:
                    for duty in duties:
                        duty.run(time.monotonic())
                    time.sleep(_TICK)
            finally:
                self._drain(threads)

    def _duties(self) -> list[Duty]:
        """Give what the main thread does at each turn: nothing that waits for others."""
        return [
            Duty("the files of this server", self._keep_files),
            Duty("the fork server", self._tend_fork_server),
            *(Duty(child.name, partial(self._tend, child)) for child in self._children),
            # After the children: they start while it imports.
            Duty("the zygote", lambda: self._zygote.tend(time.monotonic())),
            Duty("signals", self._answer_hangup),
        ]

    def _threads(self, wakeup: Listener) -> list[DutyThread]:
        """Give what waits for the registry or for the zygote."""
        return [
            DutyThread(
                Duty("the plan of workers", self._plan), lambda: self._wait_for_change(wakeup)
            ),
            DutyThread(Duty("the workers", self._run_workers), self._wait_for_plan),
            DutyThread(
                Duty("the registry's list of frontends", self._note_ended),
                lambda: time.sleep(_TICK),
            ),
        ]

    def _tend_fork_server(self) -> None:
        self._fork_server.tend(time.monotonic())

    def _tend(self, child: _Child) -> None:
        if not child.is_running and not self._fork_server.is_ready:
            return
        if child.tend(time.monotonic()):
            self._ended.append(child.id)

    def _note_ended(self) -> None:
        while self._ended:
            self._registry.frontend_stopped(self._ended[0])
            self._ended.popleft()

    def _wait_for_change(self, wakeup: Listener) -> None:
        self._woken = wait(wakeup, _TICK)

    def _plan(self) -> None:
        if not self._zygote.ready:
            return  # whoever asked it for a worker now would wait for seconds
        try:
            self._planner.step(look=self._looks.due(time.monotonic(), woken=self._woken))
        except Unavailable:
            self._registry_away = True
            raise
        if self._registry_away:
            self._registry_away = False
            for child in self._children:  # none gets ready without it
                child.start_soon()
        self._planned.set()

    def _wait_for_plan(self) -> None:
        self._planned.wait(_TICK)
        self._planned.clear()

    def _run_workers(self) -> None:
        if self._zygote.ready:
            self._workers.tend()

    def _keep_files(self) -> None:
        """Make again what somebody has removed."""
        self._keep_folders()
        self._lock.keep()
        if not data_layout.address_file(self._settings).exists():
            announce(self._settings, self._address, self._run_dir)

    def _keep_folders(self) -> None:
        for folder in (self._run_dir, data_layout.workers_dir(self._run_dir)):
            keep_folder(folder)

    def _answer_hangup(self) -> None:
        if not self._hung_up:
            return
        self._hung_up = False
        if self._certificates is None:
            logger.warning("SIGHUP is ignored: settings are read at start alone")
            return
        self._certificates.changed()  # it says in the log what is wrong with them
        logger.info(
            "SIGHUP: new connections get what the certificate files hold, as without it; "
            "settings are read at start alone"
        )

    def _drain(self, threads: Sequence[DutyThread]) -> None:
        """Stop everything in order. What one step raises keeps no other from being done."""
        logger.info("stopping: calls in flight are finished first")
        deadline = time.monotonic() + self._settings.drain_timeout + _STOP_MARGIN
        for child in self._children:
            _try("stopping", child.ask_to_stop)
        for child in self._children:
            _try("stopping", partial(child.stop, deadline))
        _try("stopping the fork server", partial(self._fork_server.stop, deadline))
        for thread in threads:
            thread.stop()
        _try("stopping the zygote", self._zygote.close)  # whoever waits for it is told
        if all(thread.join(_STOP_MARGIN) for thread in threads):
            _try("stopping the workers", self._workers.close)
        _try("stopping", self._changes.stop)
        leave = threading.Thread(
            target=lambda: _try(
                "leaving the registry", lambda: self._registry.stop_replica(self._replica)
            ),
            daemon=True,
        )
        leave.start()
        leave.join(_STOP_MARGIN)  # a registry that hangs keeps nobody from stopping


def _try(what: str, work: Callable[[], None]) -> None:
    Duty(what, work).run(time.monotonic())


def serve(settings: Settings, fork_server: ForkServer) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: the data directory or the port cannot be had, the database is none that can be
            waited for, or a certificate file is no good.
    """
    set_up_logging(settings, "supervisor")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    check_rules(settings.sources)
    files = CertificateFiles.of(settings)
    certificates = CertificateWatch(files) if files else None
    _make_data_dir(settings)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with (
        contextlib.closing(LockFile(data_layout.lock_file(settings))) as lock,
        run_directory(settings) as run_dir,
        reserve_port(settings.listen) as port,
    ):
        registry = open_registry(settings, stopped)
        if registry is None:
            fork_server.stop(time.monotonic() + settings.start_timeout)
            return
        _prepare_tokens(settings, registry)
        supervisor = Supervisor(
            settings,
            run_dir,
            registry,
            port,
            lock,
            fork_server=fork_server,
            certificates=certificates,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        signal.signal(signal.SIGHUP, lambda *_: supervisor.hang_up())
        announce(settings, _address(settings, port), run_dir)
        logger.info("serving on %s", _address(settings, port))
        try:
            supervisor.run()
        finally:
            data_layout.address_file(settings).unlink(missing_ok=True)
            _try("closing the registry", registry.close)


def _make_data_dir(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as error:
        raise ConfigError(f"data_dir: {settings.data_dir}: {error.strerror}") from None


def _prepare_tokens(settings: Settings, registry: Registry) -> None:
    """Make the token file where it is not there; say where nobody can come in.

    Raises:
        ConfigError: the file cannot be made or used.
    """
    if not settings.require_tokens:
        return
    if settings.token_file:
        file = TokenFile(Path(settings.token_file))
        if file.make():
            logger.info("made %s, with a token that may do everything", settings.token_file)
        if file.read():
            return
    if not registry.issued_tokens():
        logger.warning(
            "calls need a token, and there is none yet: "
            "`pushserve token create NAME --scope admin` makes one"
        )


def _address(settings: Settings, port: int) -> str:
    host, _ = split_address(settings.listen)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
