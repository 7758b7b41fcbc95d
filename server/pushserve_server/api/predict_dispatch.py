"""Predict dispatch: small graphs answer at once and together, all else on the event loop.

Everything else goes to the event loop: versions that have to be loaded first, workers, and
graphs that take their time.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final, NamedTuple, TypedDict

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.predict_inputs import request_from_proto
from pushserve_server.api.transport.core_calls import Call
from pushserve_server.errors import DeadlineExceeded, Overloaded
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.graph_batching import Inline, run_batch
from pushserve_server.serve.models.loaded_version import LoadedVersion
from pushserve_server.serve.models.model_table import ModelTable

_QUICK: Final = 0.02
"""Nobody looks whether the caller is still there before a call has taken so many seconds."""

_LARGE: Final = 64 * 1024
"""Bytes from which a table or rows are decoded on a thread of their own."""


class _Rows(NamedTuple):
    """A request, decoded for the version that is to answer it."""

    live: LoadedVersion
    request: DecodedRequest
    selection: OutputSelection


class _Batch(NamedTuple):
    live: LoadedVersion
    inline: Inline
    calls: list[tuple[DecodedRequest, Call]]


class _Named(TypedDict):
    number: int | None
    commit: str | None


_Later = tuple[Call, pb.PredictRequest, _Rows | None]


class PredictDispatcher:
    """Answers for one frontend, on whose event loop it is made; called on the transport's thread.

    `most` is how many requests are worked on at a time; more are refused.
    """

    def __init__(self, model_table: ModelTable, most: int) -> None:
        self._model_table = model_table
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._awaited: set[Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwatched: list[tuple[Call, asyncio.Task[None]]] = []

    def __call__(self, calls: list[Call]) -> None:
        """Answer them all, or see to it that the event loop does."""
        free = max(self._most - len(self._awaited), 0)
        for one in calls[free:]:
            one.fail(Overloaded(f"{self._most} calls are being worked on; try again shortly"))
        batches: dict[OutputSelection, _Batch] = {}
        later: list[_Later] = []
        now = time.time()
        for one in calls[:free]:
            if one.deadline < now:
                one.fail(DeadlineExceeded("the deadline passed before the work was begun"))
                continue
            try:
                self._batch_or_defer(one, batches, later)
            except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
                one.fail(error)
        if later:
            self._awaited.update(one for one, _, _ in later)
            self._loop.call_soon_threadsafe(self._begin, later)
        for selection, batch in batches.items():
            batch.live.called_at = time.monotonic()
            run_batch(batch.inline, batch.calls, selection)

    async def close(self) -> None:
        """End what the event loop still works on; nothing is answered after that.

        Called when the core transport has stopped.
        """
        await asyncio.sleep(0)  # what it handed on last begins
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _batch_or_defer(
        self, call: Call, batches: dict[OutputSelection, _Batch], later: list[_Later]
    ) -> None:
        message = call.request()
        live = None if _takes_long(message, call.size) else self._loaded(message)
        rows = None if live is None else _decoded(message, live)
        inline = rows and rows.live.engine.inline(rows.request, rows.selection)
        if rows is None or inline is None:
            later.append((call, message, rows))
            return
        batch = batches.get(rows.selection)
        if batch is None:
            batch = batches[rows.selection] = _Batch(rows.live, inline, [])
        batch.calls.append((rows.request, call))

    def _loaded(self, message: pb.PredictRequest) -> LoadedVersion | None:
        """Give what answers, where that is loaded: nearly always."""
        if message.WhichOneof("target") in (None, "ref"):
            return self._model_table.route(message.model, message.ref)
        return self._model_table.loaded_version(message.model, **_version(message))

    def _begin(self, later: list[_Later]) -> None:
        if not self._unwatched:
            self._loop.call_later(_QUICK, self._watch)
        for call, message, rows in later:
            task = self._loop.create_task(self._answer(call, message, rows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._unwatched.append((call, task))

    def _watch(self) -> None:
        """See to it that whoever hangs up is no longer worked for."""
        unwatched, self._unwatched = self._unwatched, []
        for call, task in unwatched:
            if not task.done():
                call.when_gone(partial(self._loop.call_soon_threadsafe, task.cancel))

    async def _answer(self, call: Call, message: pb.PredictRequest, rows: _Rows | None) -> None:
        try:
            live = self._loaded(message) or await self._load(message)
            if rows is None or rows.live is not live:
                rows = await asyncio.to_thread(_decoded, message, live)
            call.reply(await live.predict(rows.request, rows.selection))
        except asyncio.CancelledError:
            call.fail(DeadlineExceeded("the caller gave up"))
        except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
            call.fail(error)
        finally:
            self._awaited.discard(call)

    async def _load(self, message: pb.PredictRequest) -> LoadedVersion:
        if message.WhichOneof("target") in (None, "ref"):
            return await self._model_table.wait_for_route(message.model, message.ref)
        return await self._model_table.version(message.model, **_version(message))


def _version(message: pb.PredictRequest) -> _Named:
    if message.HasField("version"):
        return {"number": message.version, "commit": None}
    return {"number": None, "commit": message.commit}


def _takes_long(message: pb.PredictRequest, size: int) -> bool:
    """Say whether decoding would hold up others: objects and texts take 10 ms a megabyte."""
    return size > _LARGE and not message.HasField("tensor")


def _decoded(message: pb.PredictRequest, live: LoadedVersion) -> _Rows:
    request = request_from_proto(message, live.decoder)
    return _Rows(live, request, live.selection(message.outputs))
