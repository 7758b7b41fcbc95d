"""Worker engine: a version's sandboxed processes, each behind a unix socket of its own.

The supervisor owns the listening sockets and starts a process again when it dies, so a
connection made meanwhile waits in the backlog until there is somebody to accept it.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pushserve_runtime.frames import FrameError, encode_arrays
from pushserve_runtime.result_frame import (
    answer_limit,
    decode_result,
    numbers_size,
    result_limit,
)
from pushserve_runtime.signature import Layout, OutputSpec
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadAnswer, BadInput, ModelFailed, Unavailable, Violation
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.worker_connection import WorkerConnection, WorkerStopped
from pushserve_server.worker_sockets import sockets_in, why_unloadable

logger = logging.getLogger(__name__)

_RECONNECT: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before each try to connect; the last one repeats."""
_LOOK_FOR_NOTE: Final = 0.1
"""How often it is looked whether there will be no worker, in seconds."""
_LARGE: Final = 64 * 1024
"""Bytes from which requests and answers are encoded on a thread: objects take 10 ms a megabyte."""
_START_PATIENCE: Final = 20.0
"""How long a call waits for a worker to be there, in seconds."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Seconds that a worker may be silent for, and the most bytes of an answer.

    `shows_errors`: callers are told what the model's code raised.
    """

    patience: float
    answer: int
    shows_errors: bool = False


class WorkerEngine:
    """Forwards requests as frames and hands each answer to its caller.

    `folder` is where the version's workers listen. Large answers are made on `threads`.
    """

    name = EngineName.WORKER
    size = 0  # its model is in other processes

    def __init__(
        self, version: Version, folder: Path, limits: WorkerLimits, threads: Executor
    ) -> None:
        self._version = version
        self._folder = folder
        self._patience = limits.patience
        self._shows_errors = limits.shows_errors
        self._limit = answer_limit(version.signature, limits.answer)
        self._threads = threads
        self._may_hold_texts = version.signature.layout is not Layout.MATRIX
        self._outputs: dict[int, tuple[OutputSpec, ...]] = {}
        self._greeted: list[WorkerConnection] = []
        self._turn = 0
        self._some = asyncio.Event()
        self._closed = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a worker has said hello and its connection stands."""
        return bool(self._greeted)

    async def load(self) -> None:
        """Connect, and return when a worker has loaded its model."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected())
        await self._wait_for_some()

    async def _wait_for_some(self) -> None:
        """Wait until a worker is there, or the engine is closed.

        Raises:
            ModelFailed: none can load the model, for the reason given.
        """
        while not self._some.is_set():
            why = why_unloadable(self._folder)
            if why:
                raise ModelFailed(why, reason="LOAD_FAILED")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_NOTE):
                    await self._some.wait()

    def inline(self, request: DecodedRequest, selection: OutputSelection) -> None:
        """Say that every call has to wait for a worker."""

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Send the rows to the worker that has the least to do, and wait for the outputs."""
        rows, mask = request.rows, selection.mask
        specs = self._outputs.get(mask) or self._plan(mask)
        self._check_size(specs, rows)
        if self._may_hold_texts and request.size > _LARGE:
            body = await asyncio.to_thread(encode_arrays, mask, rows, request.arrays)
        else:
            body = encode_arrays(mask, rows, request.arrays)
        most = result_limit(specs, rows, self._limit)
        connection = self._least_busy() or await self._wait_for_one()
        try:
            data = await connection.predict(body, most)
        except WorkerStopped:
            # Nobody had called for long. Once more: this call has its version started again.
            connection = await self._wait_for_one()
            data = await connection.predict(body, most)
        try:
            if len(data) <= _LARGE:
                answer = _answer(data, rows, specs, selection)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(
                    self._threads, _answer, data, rows, specs, selection
                )
        except FrameError as error:
            connection.break_off(error)
            raise connection.lost() from None
        if len(answer) > self._limit:
            raise BadAnswer(_too_large(rows, len(answer), self._limit), reason="ANSWER_TOO_LARGE")
        return answer

    def _plan(self, mask: int) -> tuple[OutputSpec, ...]:
        outputs = self._version.signature.outputs
        plan = tuple(spec for i, spec in enumerate(outputs) if mask >> i & 1)
        if len(self._outputs) < 1024:
            self._outputs[mask] = plan
        return plan

    def _check_size(self, specs: tuple[OutputSpec, ...], rows: int) -> None:
        size = numbers_size(specs, rows)
        if size > self._limit:
            raise BadInput(
                _too_large(rows, size, self._limit),
                [Violation("rows", f"{size} bytes of outputs, at most {self._limit}")],
                reason="ANSWER_TOO_LARGE",
            )

    def _least_busy(self) -> WorkerConnection | None:
        """Choose: who is not silent, then who owes the fewest answers, then who is next."""
        found = self._greeted
        if len(found) < 2:
            return found[0] if found else None
        self._turn = (self._turn + 1) % len(found)
        now = asyncio.get_running_loop().time()
        return min(
            found[self._turn :] + found[: self._turn],
            key=lambda connection: (connection.is_suspect(now), connection.outstanding),
        )

    async def _wait_for_one(self) -> WorkerConnection:
        try:
            async with asyncio.timeout(_START_PATIENCE):
                while not self._closed:
                    await self._wait_for_some()
                    found = self._least_busy()
                    if found is not None:
                        return found
        except TimeoutError:
            pass
        name = f"{self._version.model} v{self._version.number}"
        raise Unavailable(f"no worker of {name} is running yet", 1.0, reason="WORKER_STARTING")

    async def close(self) -> None:
        """Stop reconnecting and close the connections. Calls that wait are told to try again."""
        self._closed = True
        self._some.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep_connected(self) -> None:
        tries = 0
        while not (sockets := sockets_in(self._folder)):
            await asyncio.sleep(_pause(tries))
            tries += 1
        async with asyncio.TaskGroup() as group:
            for socket in sockets:
                group.create_task(self._keep_one(socket))

    async def _keep_one(self, socket: Path) -> None:
        """Be connected to one process, and to each that takes its place."""
        tries = 0
        while True:
            if await self._be_connected(socket):
                tries = 0
            await asyncio.sleep(_pause(tries))
            tries += 1

    async def _be_connected(self, socket: Path) -> bool:
        """Connect and stay so; say, when that has ended, whether the worker had said hello."""
        connection = WorkerConnection(
            self._version,
            socket,
            self._patience,
            lambda: self._forget(connection),
            shows_errors=self._shows_errors,
        )
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: connection, str(socket))
            async with asyncio.timeout(self._patience):
                await connection.hello()
            self._greeted.append(connection)
            self._some.set()
            await connection.closed.wait()
            logger.warning("a worker of %s v%d is gone", self._version.model, self._version.number)
        except (OSError, TimeoutError, Unavailable):
            return False
        finally:
            connection.abort()
        return True

    def _forget(self, connection: WorkerConnection) -> None:
        if connection in self._greeted:
            self._greeted.remove(connection)
        if not self._greeted and not self._closed:
            self._some.clear()


def _answer(
    data: memoryview, rows: int, specs: tuple[OutputSpec, ...], selection: OutputSelection
) -> bytes:
    return selection.one(decode_result(data, rows, specs))


def _pause(tries: int) -> float:
    return _RECONNECT[min(tries, len(_RECONNECT) - 1)]


def _too_large(rows: int, size: int, limit: int) -> str:
    return (
        f"the answer for {rows} rows takes {size} bytes, and {limit} are the most for one call; "
        "send fewer rows at a time, or ask for fewer outputs"
    )
