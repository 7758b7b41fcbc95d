"""Batcher: predicts what has queued up, many requests at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from pushserve_runtime.frames import Array, FrameError, Kind, encode_json
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_sandbox.loading.predict_py import NotJson
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.worker.frontend_connection import Connection
from pushserve_sandbox.worker.request_decoding import intake_for
from pushserve_sandbox.worker.result_encoding import Answers

logger = logging.getLogger(__name__)

ROW_CAP: Final = 4096

QueuedRequest = tuple[Connection, int, int, Any]
"""Connection, request id, rows, payload."""

_REJECTED: Final = {
    "reason": "MODEL_REJECTED",
    "message": "the model does not accept these values",
    "fields": [],
}
_FAILED: Final = {
    "reason": "MODEL_FAILED",
    "message": "the model failed on these values",
    "fields": [],
}


class Batcher:
    """Queues requests by the outputs that they ask for, and answers them in batches."""

    def __init__(self, predictor: Predictor, row_cap: int = ROW_CAP) -> None:
        self._predictor = predictor
        self._intake = intake_for(predictor.signature)
        self._row_cap = row_cap
        self._names = [spec.name for spec in predictor.signature.outputs]
        self._queued: dict[int, list[QueuedRequest]] = {}
        self._cancelled: set[tuple[Connection, int]] = set()
        self._plans: dict[int, tuple[str, ...]] = {}
        self._answers = Answers()
        self._seen: set[type[BaseException]] = set()

    def add(self, connection: Connection, request: int, body: memoryview) -> None:
        """Queue one request.

        Raises:
            FrameError: its body is not what the signature's layout has.
        """
        mask, rows, payload = self._intake.read(body)
        if not rows or not 0 < mask < 1 << len(self._names):
            raise FrameError("no rows, or outputs that there are not")
        queue = self._queued.get(mask)
        if queue is None:
            queue = self._queued[mask] = []
        queue.append((connection, request, rows, payload))

    def cancel(self, connection: Connection, request: int) -> None:
        """Forget a request, unless it was answered already."""
        self._cancelled.add((connection, request))

    def run(self) -> Iterator[set[Connection]]:
        """Answer all that is queued; after each batch, give whom it answered."""
        queued, self._queued = self._queued, {}
        cancelled, self._cancelled = self._cancelled, set()
        for mask, requests in queued.items():
            outputs = self._plan(mask)
            wanted = [item for item in requests if item[:2] not in cancelled]
            for batch in cut(wanted, self._row_cap):
                live = [item for item in batch if not item[0].closed]
                if live:
                    self._run(live, outputs)
                    yield {item[0] for item in live}

    def _plan(self, mask: int) -> tuple[str, ...]:
        plan = self._plans.get(mask)
        if plan is None:
            plan = tuple(name for i, name in enumerate(self._names) if mask >> i & 1)
            if len(self._plans) < 1024:
                self._plans[mask] = plan
        return plan

    def _run(self, requests: Sequence[QueuedRequest], outputs: tuple[str, ...]) -> None:
        """Predict one batch. If it raises, halve it until the bad ones stand alone."""
        ends = list(accumulate((item[2] for item in requests), initial=0))
        try:
            arrays = self._predict(requests, ends[-1], outputs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's code)
            if len(requests) > 1:
                half = len(requests) // 2
                self._run(requests[:half], outputs)
                self._run(requests[half:], outputs)
            else:
                self._refuse(requests[0], error)
            return
        frames = self._answers.frames([item[1] for item in requests], list(pairwise(ends)), arrays)
        for item, frame in zip(requests, frames, strict=True):
            item[0].queue(frame)

    def _predict(
        self, requests: Sequence[QueuedRequest], rows: int, outputs: tuple[str, ...]
    ) -> list[Array]:
        arrays = self._predictor.predict(self._intake.join([r[3] for r in requests]), outputs)
        if any(len(array.values) != rows for array in arrays):
            raise NotAnOutput("another number of rows")
        return arrays

    def _refuse(self, request: QueuedRequest, error: BaseException) -> None:
        if type(error) not in self._seen and len(self._seen) < 20:
            self._seen.add(type(error))
            logger.warning("the model raised %s (logged once)", type(error).__name__)
        ours = isinstance(error, NotAnOutput | NotJson)
        rejected = isinstance(error, ValueError | TypeError | LookupError) and not ours
        answer = _REJECTED if rejected else _FAILED
        request[0].queue(b"".join(encode_json(request[1], Kind.ERROR, answer)))


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
