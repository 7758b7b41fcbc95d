"""Predict and PredictStream: what small graphs answer is answered at once, and together.

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
from pushserve_server.api.transport.core_calls import Asked
from pushserve_server.errors import DeadlineExceeded, Overloaded
from pushserve_server.serve.codec.decoding import Request
from pushserve_server.serve.codec.output_selection import Answering
from pushserve_server.serve.engines.graph_batching import Inline, answer_together
from pushserve_server.serve.models.loaded_version import Live
from pushserve_server.serve.models.model_table import Catalogue

_QUICK: Final = 0.02
"""Nobody looks whether the caller is still there before a call has taken so many seconds."""

_LARGE: Final = 64 * 1024
"""Bytes from which a table or rows are decoded on a thread of their own."""


class _Rows(NamedTuple):
    """A request, decoded for the version that is to answer it."""

    live: Live
    request: Request
    answering: Answering


class _Batch(NamedTuple):
    live: Live
    inline: Inline
    calls: list[tuple[Request, Asked]]


class _Named(TypedDict):
    number: int | None
    commit: str | None


_Later = tuple[Asked, pb.PredictRequest, _Rows | None]


class Predicting:
    """Answers for one frontend, on whose event loop it is made; called on the lane's thread.

    `most` is how many requests are worked on at a time; more are refused.
    """

    def __init__(self, catalogue: Catalogue, most: int) -> None:
        self._catalogue = catalogue
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._awaited: set[Asked] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwatched: list[tuple[Asked, asyncio.Task[None]]] = []

    def __call__(self, asked: list[Asked]) -> None:
        """Answer them all, or see to it that the event loop does."""
        room = max(self._most - len(self._awaited), 0)
        for one in asked[room:]:
            one.fail(Overloaded(f"{self._most} calls are being worked on; try again shortly"))
        batches: dict[Answering, _Batch] = {}
        later: list[_Later] = []
        now = time.time()
        for one in asked[:room]:
            if one.deadline < now:
                one.fail(DeadlineExceeded("the deadline passed before the work was begun"))
                continue
            try:
                self._sort(one, batches, later)
            except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
                one.fail(error)
        if later:
            self._awaited.update(one for one, _, _ in later)
            self._loop.call_soon_threadsafe(self._begin, later)
        for answering, batch in batches.items():
            batch.live.called_at = time.monotonic()
            answer_together(batch.inline, batch.calls, answering)

    async def close(self) -> None:
        """End what the event loop still works on; nothing is answered after that.

        Called when the lane has stopped.
        """
        await asyncio.sleep(0)  # what it handed on last begins
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _sort(self, asked: Asked, batches: dict[Answering, _Batch], later: list[_Later]) -> None:
        message = asked.request()
        live = None if _takes_long(message, asked.size) else self._loaded(message)
        rows = None if live is None else _decoded(message, live)
        inline = rows and rows.live.engine.inline(rows.request, rows.answering)
        if rows is None or inline is None:
            later.append((asked, message, rows))
            return
        batch = batches.get(rows.answering)
        if batch is None:
            batch = batches[rows.answering] = _Batch(rows.live, inline, [])
        batch.calls.append((rows.request, asked))

    def _loaded(self, message: pb.PredictRequest) -> Live | None:
        """Give what answers, where that is loaded: nearly always."""
        if message.WhichOneof("target") in (None, "ref"):
            return self._catalogue.route(message.model, message.ref)
        return self._catalogue.loaded_version(message.model, **_version(message))

    def _begin(self, later: list[_Later]) -> None:
        if not self._unwatched:
            self._loop.call_later(_QUICK, self._watch)
        for asked, message, rows in later:
            task = self._loop.create_task(self._answer(asked, message, rows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._unwatched.append((asked, task))

    def _watch(self) -> None:
        """See to it that whoever hangs up is no longer worked for."""
        unwatched, self._unwatched = self._unwatched, []
        for asked, task in unwatched:
            if not task.done():
                asked.when_gone(partial(self._loop.call_soon_threadsafe, task.cancel))

    async def _answer(self, asked: Asked, message: pb.PredictRequest, rows: _Rows | None) -> None:
        try:
            live = self._loaded(message) or await self._load(message)
            if rows is None or rows.live is not live:
                rows = await asyncio.to_thread(_decoded, message, live)
            asked.reply(await live.predict(rows.request, rows.answering))
        except asyncio.CancelledError:
            asked.fail(DeadlineExceeded("the caller gave up"))
        except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
            asked.fail(error)
        finally:
            self._awaited.discard(asked)

    async def _load(self, message: pb.PredictRequest) -> Live:
        if message.WhichOneof("target") in (None, "ref"):
            return await self._catalogue.wait_for_route(message.model, message.ref)
        return await self._catalogue.version(message.model, **_version(message))


def _version(message: pb.PredictRequest) -> _Named:
    if message.HasField("version"):
        return {"number": message.version, "commit": None}
    return {"number": None, "commit": message.commit}


def _takes_long(message: pb.PredictRequest, size: int) -> bool:
    """Say whether decoding would hold up others: objects and texts take 10 ms a megabyte."""
    return size > _LARGE and not message.HasField("tensor")


def _decoded(message: pb.PredictRequest, live: Live) -> _Rows:
    request = request_from_proto(message, live.decoder)
    return _Rows(live, request, live.answering(message.outputs))
