"""Predict dispatch: what small graphs answer is answered at once, and in batches.

Everything else goes to the event loop: versions that have to be loaded first, workers, and
graphs that take their time. Which protocol a call came by, its door alone knows.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final, NamedTuple

from pushserve_server.api.doors.task import PredictTask
from pushserve_server.api.transport.call import Call
from pushserve_server.errors import DeadlineExceeded
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.graph_batching import BatchedCall, Inline, run_batch
from pushserve_server.serve.models.loaded_version import LoadedVersion
from pushserve_server.serve.models.model_table import ModelTable

_QUICK: Final = 0.02
"""Nobody looks whether the caller is still there before a call has taken so many seconds."""


class _Rows(NamedTuple):
    """A task, decoded for the version that is to answer it."""

    live: LoadedVersion
    request: DecodedRequest
    selection: OutputSelection


class _Batch(NamedTuple):
    live: LoadedVersion
    inline: Inline
    calls: list[BatchedCall]


_Later = tuple[Call, PredictTask, _Rows | None]


class PredictDispatcher:
    """Answers for one frontend, on whose event loop it is made.

    Called on the transport's thread.
    """

    def __init__(self, model_table: ModelTable) -> None:
        self._model_table = model_table
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwatched: list[tuple[Call, asyncio.Task[None]]] = []

    def __call__(self, calls: list[Call]) -> None:
        """Answer them all, or see to it that the event loop does."""
        batches: dict[object, _Batch] = {}
        later: list[_Later] = []
        now = time.time()
        for call in calls:
            if call.deadline < now:
                call.fail(DeadlineExceeded("the deadline passed before the work was begun"))
                continue
            try:
                self._batch_or_defer(call, batches, later)
            except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
                call.fail(error)
        if later:
            self._loop.call_soon_threadsafe(self._begin, later)
        for batch in batches.values():
            batch.live.called_at = time.monotonic()
            run_batch(batch.inline, batch.calls)

    async def close(self) -> None:
        """End what the event loop still works on; nothing is answered after that.

        Called when the transport has stopped.
        """
        await asyncio.sleep(0)  # what it handed on last begins
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _batch_or_defer(
        self, call: Call, batches: dict[object, _Batch], later: list[_Later]
    ) -> None:
        decode = call.method.decode
        assert decode is not None  # noqa: S101 (methods that come here have a door)
        task: PredictTask = decode(call)
        call.principal.check_model(task.target[0])
        live = None if task.takes_long else self._loaded(task)
        rows = None if live is None else _decoded(task, live)
        inline = rows and rows.live.engine.inline(rows.request, rows.selection)
        if rows is None or inline is None:
            later.append((call, task, rows))
            return
        key = rows.selection.run_key
        batch = batches.get(key)
        if batch is None:
            batch = batches[key] = _Batch(rows.live, inline, [])
        batch.calls.append(BatchedCall(rows.request, rows.selection, call))

    def _loaded(self, task: PredictTask) -> LoadedVersion | None:
        """Give what answers, where that is loaded: nearly always."""
        model, ref, number, commit = task.target
        if number is None and commit is None:
            return self._model_table.route(model, ref)
        return self._model_table.loaded_version(model, number=number, commit=commit)

    def _begin(self, later: list[_Later]) -> None:
        if not self._unwatched:
            self._loop.call_later(_QUICK, self._watch)
        for call, predict_task, rows in later:
            task = self._loop.create_task(self._answer(call, predict_task, rows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._unwatched.append((call, task))

    def _watch(self) -> None:
        """See to it that whoever hangs up is no longer worked for."""
        unwatched, self._unwatched = self._unwatched, []
        for call, task in unwatched:
            if not task.done():
                call.when_gone(partial(self._loop.call_soon_threadsafe, task.cancel))

    async def _answer(self, call: Call, task: PredictTask, rows: _Rows | None) -> None:
        try:
            live = self._loaded(task) or await self._load(task)
            with live.held():  # it is not unloaded between here and the answer
                if rows is None or rows.live is not live:
                    rows = await asyncio.to_thread(_decoded, task, live)
                call.reply(await live.predict(rows.request, rows.selection))
        except asyncio.CancelledError:
            call.fail(DeadlineExceeded("the caller gave up"))
        except Exception as error:  # noqa: BLE001 (it goes to whose request it was)
            call.fail(error)

    async def _load(self, task: PredictTask) -> LoadedVersion:
        model, ref, number, commit = task.target
        if number is None and commit is None:
            return await self._model_table.wait_for_route(model, ref)
        return await self._model_table.version(model, number=number, commit=commit)


def _decoded(task: PredictTask, live: LoadedVersion) -> _Rows:
    request = task.decode(live.decoder)
    return _Rows(live, request, live.selection(task.outputs, task.make_encoder))
