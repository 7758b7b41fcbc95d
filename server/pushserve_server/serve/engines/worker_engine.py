"""Worker engine: one unix connection to a version's sandboxed process.

The supervisor owns the listening socket and starts the process again when it dies, so a
connection made meanwhile waits in the backlog until there is somebody to accept it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

from pushserve_runtime.frames import (
    HEADER,
    MAX_FRAME,
    Array,
    FrameError,
    Kind,
    decode_arrays,
    encode_arrays,
    encode_frame,
)
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import BadInput, ModelFailed, Unavailable, Violation
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.worker_notes import read_why

logger = logging.getLogger(__name__)

_RECONNECT: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before each try to connect; the last one repeats."""
_LOOK_FOR_NOTE: Final = 0.1
"""How often it is looked whether there will be no worker, in seconds."""


class WorkerEngine:
    """Forwards requests as frames and hands each answer to its caller.

    `note` says why there is no worker, where it is known (`worker_notes`).
    """

    name = EngineName.WORKER
    size = 0  # its model is in another process

    def __init__(self, socket_path: Path, note: Path) -> None:
        self._path = socket_path
        self._note = note
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the worker has said hello and the connection stands."""
        return self._connected.is_set()

    async def load(self) -> None:
        """Connect, and return when the worker has loaded its model."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected())
        await self._wait_for_worker()

    async def _wait_for_worker(self) -> None:
        """Wait until there is one.

        Raises:
            ModelFailed: none can load the model, for the reason given.
        """
        while not self._connected.is_set():
            why = read_why(self._note)
            if why:
                raise ModelFailed(why, reason="LOAD_FAILED")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_NOTE):
                    await self._connected.wait()

    def inline(self, request: DecodedRequest, selection: OutputSelection) -> None:
        """Say that every call has to wait for the worker."""

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Send the rows and wait for the outputs."""
        if not self._connected.is_set():
            await self._wait_for_worker()
        connection = self._connection
        assert connection is not None  # noqa: S101 (set before the event is)
        return selection.one(await connection.call(request, selection.mask))

    async def close(self) -> None:
        """Stop reconnecting and close the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._drop()

    async def _keep_connected(self) -> None:
        tries = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_unix_connection(_Connection, str(self._path))
            except OSError:
                await asyncio.sleep(_RECONNECT[min(tries, len(_RECONNECT) - 1)])
                tries += 1
                continue
            self._connection = connection
            if await connection.say_hello():
                tries = 0
                self._connected.set()
                await connection.closed
                logger.warning("worker connection %s was lost", self._path.name)
            self._drop()
            await asyncio.sleep(_RECONNECT[min(tries, len(_RECONNECT) - 1)])
            tries += 1

    def _drop(self) -> None:
        self._connected.clear()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


class _Connection(asyncio.Protocol):
    """Frames out, frames in, matched by request id."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[memoryview]] = {}
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    async def say_hello(self) -> bool:
        """Wait until the worker is there; False if the connection broke first."""
        try:
            await self._ask(lambda number: encode_frame(number, Kind.HELLO))
        except Unavailable:
            return False
        return True

    async def call(self, request: DecodedRequest, mask: int) -> list[Array]:
        """Send a PREDICT frame and decode its answer."""
        body = encode_arrays(mask, request.rows, request.arrays)
        answer = await self._ask(lambda number: encode_frame(number, Kind.PREDICT, body))
        try:
            _, rows, arrays = decode_arrays(answer)
        except FrameError:
            self.abort()
            raise ModelFailed("the worker sent an answer that cannot be read") from None
        if rows != request.rows or len(arrays) != mask.bit_count():
            raise ModelFailed(
                "the worker sent another number of rows or outputs than it was asked for"
            )
        return arrays

    async def _ask(self, frame: Any) -> memoryview:
        if self._transport is None or self.closed.done():
            raise _died()
        number = next(self._ids) & 0xFFFFFFFF
        future: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._transport.writelines(frame(number))
        try:
            return await future
        except asyncio.CancelledError:
            # The caller hung up, or its deadline has passed.
            if not self._transport.is_closing():
                self._transport.writelines(encode_frame(number, Kind.CANCEL))
            raise
        finally:
            self._waiting.pop(number, None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        if not buffer and self._whole(data):
            self._take(memoryview(data))
            return
        buffer += data
        end = self._complete(buffer)
        if end:
            whole = bytes(memoryview(buffer)[:end])
            del buffer[:end]
            self._take(memoryview(whole))

    @staticmethod
    def _whole(data: bytes) -> bool:
        return len(data) >= HEADER.size and HEADER.unpack_from(data)[0] + 4 == len(data)

    def _complete(self, buffer: bytearray) -> int:
        """Give the size of all whole frames at the front of the buffer."""
        at = 0
        while len(buffer) - at >= HEADER.size:
            size = HEADER.unpack_from(buffer, at)[0] + 4
            if size > MAX_FRAME or size < HEADER.size:
                self.abort()
                return 0
            if len(buffer) - at < size:
                break
            at += size
        return at

    def _take(self, frames: memoryview) -> None:
        at = 0
        while at < len(frames):
            size, number, kind = HEADER.unpack_from(frames, at)
            body = frames[at + HEADER.size : at + 4 + size]
            at += 4 + size
            future = self._waiting.get(number)
            if future is None or future.done():
                continue
            if kind == Kind.ERROR:
                future.set_exception(_error_from(body))
            else:
                future.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio names it)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_died())
        if not self.closed.done():
            self.closed.set_result(None)

    def abort(self) -> None:
        """Close at once; what waits gets `Unavailable`."""
        if self._transport is not None:
            self._transport.abort()


def _died() -> Unavailable:
    return Unavailable(
        "the process that ran this version ended; it is being started again",
        reason="WORKER_DIED",
    )


def _error_from(body: memoryview) -> Exception:
    """Build the error that an ERROR frame stands for. The worker is not trusted."""
    try:
        data = json.loads(bytes(body))
        reason = str(data["reason"])[:64]
        violations = [Violation(str(c), str(what)) for c, _row, what in data.get("fields", [])[:20]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ModelFailed("the worker sent an error that cannot be read")
    if reason == "MODEL_REJECTED":
        text = "the model refuses these values, although they fit its signature"
        return BadInput(text, violations, reason="MODEL_REJECTED")
    return ModelFailed("the model failed on these rows, although they fit its signature")
