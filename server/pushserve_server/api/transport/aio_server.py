"""grpc.aio transport: carries calls where gRPC's core cannot be had by its binding.

It gives the same answers as the core transport, by public interfaces alone, and is slower: a call
at a time, each with tasks and hops of its own. One thing it cannot do: grpc.aio has no way to
give up an answer that its caller does not take, so that is kept until the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

import grpc

from pushserve_server.access.guard import ANYBODY
from pushserve_server.api.status import DETAILS_KEY, Failure, failure
from pushserve_server.api.transport.bounds import Bounds
from pushserve_server.api.transport.call import (
    REQUEST_ID,
    WINDOW,
    CallerGone,
    Listener,
    Metadata,
    Method,
)
from pushserve_server.api.transport.item_call import ItemCall
from pushserve_server.errors import BadInput, DeadlineExceeded, Overloaded

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

_LOOK: Final = 0.2
_SENT_LOOK: Final = 0.01
_OK: Final = 0
_CANCELLED: Final = 1


class AioServer:
    """One port of grpc.aio. Lives on one event loop, which `beat` is called from."""

    def __init__(
        self,
        listener: Listener,
        options: list[tuple[str, int]],
        bounds: Bounds,
        beat: Callable[[], object] = lambda: None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.listener = listener
        self._credentials = credentials
        self.bounds = bounds
        self.receiving: dict[AioCall, float] = {}
        self.open: set[AioCall] = set()
        """Calls whose status is not sent yet."""
        self._beat = beat
        self._ticks: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Handler(self),))

    def listen(self, address: str) -> int:
        """Bind an address ("127.0.0.1:0"); give its port.

        Raises:
            OSError: it cannot be had.
        """
        try:
            if self._credentials is not None:
                return self._server.add_secure_port(address, self._credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None

    async def start(self) -> None:
        """Begin to take calls."""
        await self._server.start()
        self._ticks = asyncio.create_task(self._tick())

    async def stop(self, grace: float) -> None:
        """Refuse new calls; let those under way end in `grace` seconds, then end them."""
        end = time.monotonic() + grace
        await self.listener.drain(grace)
        while self.open and time.monotonic() < end:  # noqa: ASYNC110 (they end one by one)
            await asyncio.sleep(_SENT_LOOK)
        await self._server.stop(None)
        if self._ticks is not None:
            self._ticks.cancel()
            await asyncio.gather(self._ticks, return_exceptions=True)

    def close(self) -> None:
        """Do nothing: whatever was answered too late is dropped."""

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._beat()
            now = time.monotonic()
            late, crowding = self.bounds.receiving(list(self.receiving.items()), now)
            for call in late:
                call.interrupt(DeadlineExceeded("the request did not arrive in time"))
            for call in crowding:
                call.interrupt(Overloaded("too many requests arrive slowly; try again shortly"))


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: AioServer) -> None:
        self._server = server

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Give the handler of every method: bytes in, bytes out, whatever its kind."""
        name = str(details.method)
        found = self._server.listener.method(name)

        async def handle(_requests: Any, context: Context) -> None:
            method = found or Method(name, "unknown")
            await AioCall(self._server, method, context, known=found is not None).run()

        return grpc.stream_stream_rpc_method_handler(handle)


class AioCall:
    """A call of any kind. Its answer is sent by the task that grpc.aio runs its handler in."""

    def __init__(self, server: AioServer, method: Method, context: Context, *, known: bool) -> None:
        self._server = server
        self._context = context
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._interrupted: Exception | None = None
        self._ended = False
        self._answer: asyncio.Future[bytes | Failure] = self._loop.create_future()
        self._when_gone: list[Callable[[], object]] = []
        self.method = method
        self.metadata: Metadata = tuple(context.invocation_metadata() or ())
        self.peer = str(context.peer())  # asked for after the call's end, it ends the process
        left = context.time_remaining()
        self.deadline = math.inf if left is None else time.time() + left
        self.body = b""
        self.request_id = ""
        self.principal = ANYBODY
        self.started = time.perf_counter()

    async def run(self) -> None:
        """Read the request, have the call answered, and send the answer."""
        self._server.open.add(self)
        try:
            await self._run()
        except asyncio.CancelledError:
            if self._interrupted is None:
                self._gone()
                raise
            failed = failure(self._interrupted, self.request_id)
            self._end(failed.number, 0)
            await self._abort(failed)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            self.fail(error)
            await self._send_answer()
        finally:
            self._server.open.discard(self)

    async def _run(self) -> None:
        listener, method = self._server.listener, self.method
        if not self._known:
            listener.unknown(self)
        elif method.items is not None:
            listener.admit(self)
            await _AioItemStream(self, method.items, self._context).run()
            self.finish()
        elif method.takes_stream or await self._read_request():
            listener.accept([self])
        await self._send_answer()

    async def _read_request(self) -> bool:
        self._server.receiving[self] = time.monotonic()
        try:
            data = await self.receive()
        finally:
            self._server.receiving.pop(self, None)
        if data is None:
            self.fail(BadInput("the call brought no request", reason="WRONG_FORM"))
            return False
        self.body = data
        return True

    async def _send_answer(self) -> None:
        answer = await asyncio.shield(self._answer)
        if isinstance(answer, Failure):
            await self._abort(answer)
        elif answer or self.method.unary is not None or self.method.batch is not None:
            await self.send(answer)
        if self.request_id:
            self._context.set_trailing_metadata(((REQUEST_ID, self.request_id),))

    async def _abort(self, failed: Failure) -> None:
        trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, failed.details)]
        if self.request_id:
            trailing.append((REQUEST_ID, self.request_id))
        await self._context.abort(failed.code, failed.message, tuple(trailing))

    def interrupt(self, why: Exception) -> None:
        """End the call from outside, whatever it waits for."""
        self._interrupted = why
        if self._task is not None:
            self._task.cancel()

    def _gone(self) -> None:
        self._end(_CANCELLED, 0)
        for do in self._when_gone:
            do()

    def reply(self, data: bytes) -> None:
        """Send the serialized response, and end well."""
        if self._end(_OK, len(data)):
            self._loop.call_soon_threadsafe(_resolve, self._answer, data)

    def fail(self, error: Exception) -> None:
        """End with the status of an error."""
        if not self._ended:
            failed = failure(error, self.request_id)
            if self._end(failed.number, 0):
                self._loop.call_soon_threadsafe(_resolve, self._answer, failed)

    def finish(self) -> None:
        """End well, after all responses."""
        self.reply(b"")

    def _end(self, code: int, size: int) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._server.listener.finished(self, code, size)
        return True

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done if the caller gives up before the answer."""
        self._when_gone.append(do)
        if self._context.cancelled():
            do()

    async def receive(self) -> bytes | None:
        """Wait for the next request; None when there are no more."""
        data = await self._context.read()
        return None if data is grpc.aio.EOF else bytes(data)

    async def send(self, data: bytes) -> None:
        """Send a response.

        Raises:
            CallerGone: nobody is there to take it.
        """
        try:
            await self._context.write(data)
        except (asyncio.InvalidStateError, grpc.aio.UsageError):
            raise CallerGone from None


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


class _AioItemStream:
    """Reads on while few requests wait for their answers; sends these in order."""

    def __init__(self, call: AioCall, items: Method, context: Context) -> None:
        self._call = call
        self._items = items
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(WINDOW)
        self._waiting: asyncio.Queue[_AioItem | None] = asyncio.Queue()
        self._left: set[_AioItem] = set()
        self.gone = False

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            while (item := await self._waiting.get()) is not None:
                await item.ready.wait()
                self._left.discard(item)
                await self._call.send(item.answer or b"")
                self._free.release()
            await reader
        except BaseException:
            self.gone = True
            for item in self._left:
                item.give_up()
            raise
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        listener = self._call._server.listener  # noqa: SLF001 (of one module)
        try:
            while True:
                await self._free.acquire()
                data = await self._call.receive()
                if data is None:
                    return
                item = _AioItem(self, self._call, self._items, data, listener)
                self._left.add(item)
                self._waiting.put_nowait(item)
                listener.accept([item])
        finally:
            self._waiting.put_nowait(None)

    def wake(self, item: _AioItem) -> None:
        self._loop.call_soon_threadsafe(item.ready.set)


class _AioItem(ItemCall):
    """One request of an item stream."""

    __slots__ = ("_stream", "ready")

    def __init__(
        self, stream: _AioItemStream, call: AioCall, method: Method, body: bytes, listener: Listener
    ) -> None:
        super().__init__(call, method, body, listener)
        self._stream = stream
        self.ready = asyncio.Event()

    def answered(self) -> None:
        self._stream.wake(self)

    @property
    def gone(self) -> bool:
        return self._stream.gone
