"""Batcher: predicts what has queued up, many requests at a time."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.frames import FrameError, Kind, encode_frame
from pushserve_runtime.signature import OutputSpec
from pushserve_sandbox.loading.predict_py import RecordsPredictor
from pushserve_sandbox.loading.raised_errors import told
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.worker.error_frames import error_frame
from pushserve_sandbox.worker.frontend_connection import Connection
from pushserve_sandbox.worker.request_decoding import intake_for
from pushserve_sandbox.worker.result_encoding import ArrayAnswers, ObjectAnswers

logger = logging.getLogger(__name__)

ROW_CAP: Final = 4096
_LOGGED: Final = 20
"""Kinds of errors that are logged."""

QueuedRequest = tuple[Connection, int, int, Any]
"""Connection, request id, rows, payload."""


class Batcher:
    """Queues requests by the outputs that they ask for, and answers them in batches.

    `answer_limit` is the most bytes of one answer; `folder` holds the model's files. A batch has
    at most `row_cap` rows of several requests; 0 is for models whose rows depend on each other.
    """

    def __init__(
        self, predictor: Predictor, answer_limit: int, folder: Path, row_cap: int = ROW_CAP
    ) -> None:
        self._folder = folder
        self._intake = intake_for(predictor.signature)
        self._answers = (
            ObjectAnswers(predictor, answer_limit)
            if isinstance(predictor, RecordsPredictor)
            else ArrayAnswers(predictor, answer_limit)
        )
        self._row_cap = row_cap
        self._outputs = predictor.signature.outputs
        self._queued: dict[tuple[int, Hashable], list[QueuedRequest]] = {}
        self._cancelled: set[tuple[Connection, int]] = set()
        self._plans: dict[int, tuple[OutputSpec, ...]] = {}
        self._seen: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Whether requests are queued."""
        return bool(self._queued)

    def add(self, connection: Connection, request: int, body: memoryview) -> None:
        """Queue one request.

        Raises:
            FrameError: its body is not what the signature's layout has.
        """
        mask, rows, payload = self._intake.read(body)
        if not rows or not 0 < mask < 1 << len(self._outputs):
            raise FrameError("no rows, or outputs that there are not")
        key = mask, self._intake.kind(payload)
        queue = self._queued.get(key)
        if queue is None:
            queue = self._queued[key] = []
        queue.append((connection, request, rows, payload))

    def cancel(self, connection: Connection, request: int) -> None:
        """Forget a request, unless it was answered already."""
        self._cancelled.add((connection, request))

    def run(self) -> set[Connection]:
        """Answer the first batch of what is queued; give whom there is something to send to."""
        answered = self._drop_cancelled() if self._cancelled else set()
        if not self._queued:
            return answered
        key = next(iter(self._queued))
        queue = [item for item in self._queued.pop(key) if not item[0].closed]
        batch = next(cut(queue, self._row_cap), ())
        if len(batch) < len(queue):
            self._queued[key] = queue[len(batch) :]  # behind those who wait for other outputs
        if batch:
            self._run(batch, self._plan(key[0]))
        return answered.union(item[0] for item in batch)

    def _drop_cancelled(self) -> set[Connection]:
        cancelled, self._cancelled = self._cancelled, set()
        told = set()
        for key, queue in list(self._queued.items()):
            for connection, request, _, _ in queue:
                if (connection, request) in cancelled:
                    connection.queue(b"".join(encode_frame(request, Kind.DROPPED)))
                    told.add(connection)
            left = [item for item in queue if item[:2] not in cancelled]
            if left:
                self._queued[key] = left
            else:
                del self._queued[key]
        return told

    def _plan(self, mask: int) -> tuple[OutputSpec, ...]:
        plan = self._plans.get(mask)
        if plan is None:
            plan = tuple(spec for i, spec in enumerate(self._outputs) if mask >> i & 1)
            if len(self._plans) < 1024:
                self._plans[mask] = plan
        return plan

    def _run(self, requests: Sequence[QueuedRequest], outputs: tuple[OutputSpec, ...]) -> None:
        """Predict one batch. If it raises, halve it until the bad ones stand alone."""
        ends = list(accumulate((item[2] for item in requests), initial=0))
        ids = [item[1] for item in requests]
        try:
            arrays = self._intake.join([item[3] for item in requests])
            frames = self._answers.frames(ids, list(pairwise(ends)), arrays, outputs)
        except BaseException as error:  # noqa: BLE001 (the edge of the model's code)
            if len(requests) > 1:
                half = len(requests) // 2
                self._run(requests[:half], outputs)
                self._run(requests[half:], outputs)
                return
            raised = told(error, self._folder)
            self._note(raised, type(error))
            frames = [error_frame(ids[0], error, raised)]
        for item, frame in zip(requests, frames, strict=True):
            item[0].queue(frame)

    def _note(self, raised: str, kind: type[BaseException]) -> None:
        """Log what the model raised, once for each place in its files and class."""
        key = f"{kind.__qualname__} {raised.rpartition(' (')[2]}"
        if key not in self._seen and len(self._seen) < _LOGGED:
            self._seen.add(key)
            logger.warning("the model raised %s (logged once)", raised)


def cut(requests: Sequence[QueuedRequest], row_cap: int) -> Iterator[Sequence[QueuedRequest]]:
    """Cut requests into batches of at most `row_cap` rows; a larger one goes alone."""
    start = rows = 0
    for index, item in enumerate(requests):
        if index > start and rows + item[2] > row_cap:
            yield requests[start:index]
            start, rows = index, 0
        rows += item[2]
    if start < len(requests):
        yield requests[start:]
