"""Frontend process: answers gRPC on the shared port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import uvloop

from pushserve_runtime.onnx_session import bound_run_memory
from pushserve_server.access.admission_tokens import AdmissionTokens
from pushserve_server.access.guard import Guard
from pushserve_server.api.doors.trial_calls import ask_every_door
from pushserve_server.api.health import Health
from pushserve_server.api.predict_dispatch import PredictDispatcher
from pushserve_server.api.server import make_health, make_pipeline
from pushserve_server.api.servicer import ModelService
from pushserve_server.api.transport.factory import make_transport
from pushserve_server.build.bundles import BundleBroken, Bundles
from pushserve_server.data_layout import bundles_dir, worker_folder
from pushserve_server.domain.door_trial import TRIALS_KEY, DoorTrial, trials_from_json
from pushserve_server.domain.loading_rules import PreloadRule
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import Unavailable
from pushserve_server.processes.boot import Boot
from pushserve_server.registry import Registry
from pushserve_server.serve.async_registry import AsyncRegistry
from pushserve_server.serve.engines.engine import Engine
from pushserve_server.serve.engines.onnx_engine import OnnxEngine
from pushserve_server.serve.engines.worker_engine import WorkerEngine, WorkerLimits
from pushserve_server.serve.malloc import keep_what_is_freed
from pushserve_server.serve.models.loaded_version import LoadedVersion
from pushserve_server.serve.models.model_table import ModelTable
from pushserve_server.settings import split_address
from pushserve_server.supervision.heartbeat import BEAT_EVERY, Heartbeat
from pushserve_server.wakeups import Listener, Looks, Wakeups

logger = logging.getLogger(__name__)

POLL: Final = 0.1
"""How often the registry's counter is read when no hint comes, in seconds."""
HEARTBEAT: Final = 2.0
_USES: Final = 60.0
"""How often the registry is told when tokens were used last, in seconds."""
ANSWER_THREADS: Final = 2
"""For workers' large answers. To check one of 16 MiB may take 350 MB: few at a time."""
_SWITCH: Final = 0.0001
"""How long the transport's thread waits for one that computes in Python, in seconds: several times
a call. With Python's 0.005, a client that sends large tables makes all others wait for 30 ms."""


class Frontend:
    """Follows the registry, and keeps health and heartbeat in step with what is served."""

    def __init__(
        self,
        boot: Boot,
        store: AsyncRegistry,
        model_table: ModelTable,
        health: Health,
        looks: Looks,
        *,
        guard: Guard,
    ) -> None:
        self._guard = guard
        self._admission = (
            AdmissionTokens(boot.settings, guard) if boot.settings.require_tokens else None
        )
        self._noted = time.monotonic()
        self._idle_unload = boot.settings.idle_unload
        self._store = store
        self._model_table = model_table
        self._health = health
        self._looks = looks
        self._woken = True
        self._generation = -1
        self._said = -2

    async def begin(self) -> None:
        """Learn what is to be served, so that the first call finds its model."""
        await self._step()

    async def follow(self, hint: Listener) -> None:
        """Follow until cancelled. A registry that cannot be read does not stop serving."""
        while True:
            try:
                await self._step()
            except Exception:
                logger.exception("the registry cannot be read; serving what is loaded")
                await asyncio.sleep(1.0)
            self._woken = await _wait_for_hint(hint.current(), POLL)

    async def _step(self) -> None:
        if self._admission is not None:
            self._admission.look_at_file()
        if self._looks.due(time.monotonic(), woken=self._woken):
            await self._look()
        if self._model_table.applied != self._said:
            await self._say_applied()
        await self._model_table.report_calls(time.monotonic())
        table = self._model_table
        self._health.show(table.readiness(), has_begun=table.has_begun)

    async def _look(self) -> None:
        """Read what is to be served, where that has changed."""
        if await self._store.generation() != self._generation:
            snapshot = await self._store.snapshot(self._idle_unload)
            if self._admission is not None:  # after it: what is read is of its generation or later
                self._admission.follow(await self._store.tokens())
            await self._model_table.follow(snapshot)
            self._generation = snapshot.generation

    async def beat(self) -> None:
        """Say until cancelled that this frontend lives, whatever following waits for."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            try:
                await self._say_applied()
                if time.monotonic() - self._noted >= _USES:
                    await self.note_uses()
            except Exception:
                logger.exception("the registry cannot be told that this frontend lives")

    async def note_uses(self) -> None:
        """Tell the registry when tokens were used last: not at each call."""
        self._noted = time.monotonic()
        uses = self._guard.uses()
        if uses:
            await self._store.note_token_uses(uses)

    async def _say_applied(self) -> None:
        applied = self._model_table.applied
        await self._store.heartbeat(applied)
        self._said = applied


async def _wait_for_hint(hint: socket.socket, seconds: float) -> bool:
    """Wait to be woken; say whether one was."""
    loop = asyncio.get_running_loop()
    woken = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await loop.sock_recv(hint, 1)
            woken = True
    with contextlib.suppress(BlockingIOError):
        while hint.recv(64):  # many hints are one
            woken = True
    return woken


def _make_model_table(
    boot: Boot, store: AsyncRegistry, pool: ThreadPoolExecutor, answers: ThreadPoolExecutor
) -> ModelTable:
    settings = boot.settings
    bundles = Bundles(bundles_dir(settings))
    limits = WorkerLimits(
        settings.predict_timeout, settings.max_answer, shows_errors=settings.tells_model_errors
    )

    def make_engine(version: Version) -> Engine:
        if version.engine is EngineName.ONNX:
            return OnnxEngine(version, bundles, pool, shared_memory=True)
        return WorkerEngine(version, worker_folder(boot.run_dir, version.id), limits, answers)

    async def check(live: LoadedVersion) -> None:
        await ask_every_door(live, _trials_of(bundles, live.version), settings.max_rows)

    return ModelTable(
        store,
        make_engine,
        max_rows=settings.max_rows,
        max_wait=settings.max_wait,
        idle_unload=settings.idle_unload,
        graph_memory=settings.graph_memory // settings.frontends,
        preload=PreloadRule(settings.preload, settings.preload_limit),
        check=check,
    )


def _trials_of(bundles: Bundles, version: Version) -> tuple[DoorTrial, ...]:
    """Give what a build has left for the doors to be asked."""
    try:
        said = bundles.open(version.digest).spec.get(TRIALS_KEY) or []
        return trials_from_json(said, version.signature)
    except (BundleBroken, ValueError) as error:
        raise Unavailable(f"its bundle is being built again: {error}") from None


async def run(boot: Boot) -> None:
    """Serve until SIGTERM or until the supervisor is gone, then drain."""
    settings, heartbeats = boot.settings, boot.heartbeats()
    registry = Registry.open(settings.database)
    beating = asyncio.create_task(_show_turns(heartbeats.loop("event loop")))
    wakeups = Wakeups(boot.run_dir)
    registry.when_changed(wakeups.wake)
    store = AsyncRegistry(registry, boot.id, remote_threads=settings.max_control_calls)
    pool = ThreadPoolExecutor(os.cpu_count() or 1, "onnx")
    answers = ThreadPoolExecutor(ANSWER_THREADS, "answers")
    model_table = _make_model_table(boot, store, pool, answers)
    health = make_health()
    host, _ = split_address(settings.listen)
    address = f"[{host}]:{boot.port}" if ":" in host else f"{host}:{boot.port}"
    predict = PredictDispatcher(model_table)
    guard = Guard(required=settings.require_tokens, opened=settings.open_without_token)
    pipeline = make_pipeline(settings, ModelService(settings, store), predict, health, guard)
    receiving = heartbeats.loop("transport")
    transport = make_transport(boot.transport, pipeline, settings, receiving.beat)
    transport.listen(address)
    await store.started(boot.replica)
    with wakeups.listening(boot.name) as hint:
        frontend = Frontend(boot, store, model_table, health, Looks(wakeups), guard=guard)
        await frontend.begin()
        tasks = [asyncio.create_task(frontend.follow(hint)), asyncio.create_task(frontend.beat())]
        await transport.start()
        heartbeats.ready()
        logger.info("answering on %s", address)
        await _stop_asked()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        health.drain()
        await transport.stop(settings.drain_timeout)
        receiving.end()
        await predict.close()
        await pipeline.close()
        transport.close()
        with contextlib.suppress(Unavailable):
            await frontend.note_uses()
    await model_table.close()
    await store.stopped()
    store.close()
    pool.shutdown(cancel_futures=True)
    answers.shutdown(cancel_futures=True)
    registry.close()
    beating.cancel()


async def _show_turns(heartbeat: Heartbeat) -> None:
    """Show that the event loop turns, as long as it does."""
    while True:
        heartbeat.beat()
        await asyncio.sleep(BEAT_EVERY)


async def _stop_asked() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_blocking(sys.stdin.fileno(), False)

    def supervisor_gone() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            stop.set()

    loop.add_reader(sys.stdin.fileno(), supervisor_gone)
    await stop.wait()
    loop.remove_reader(sys.stdin.fileno())


def main(boot: Boot) -> None:
    """Run one frontend."""
    keep_what_is_freed()
    bound_run_memory(boot.settings.run_memory)
    sys.setswitchinterval(_SWITCH)
    uvloop.run(run(boot))
