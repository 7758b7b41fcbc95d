"""PredictStream: many requests on one call, answered in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.status import INTERNAL_TEXT, status_code
from pushserve_server.api.wire import length_delimited_tag, varint
from pushserve_server.errors import BadInput, PushserveError

logger = logging.getLogger(__name__)

WINDOW: Final = 64
"""Requests of one stream that are worked on, or wait to be read, at a time."""
_RESPONSE: Final = length_delimited_tag(pb.PredictStreamResponse, "response")

Answer = Callable[[pb.PredictRequest], Awaitable[bytes]]


async def answer_stream(
    requests: AsyncIterator[pb.PredictStreamRequest], answer: Answer
) -> AsyncIterator[bytes]:
    """Give a serialized PredictStreamResponse for each request, in order.

    Up to `WINDOW` requests are worked on at a time, so that they can share a batch; no
    further one is read before an answer has been taken.
    """
    queue: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(WINDOW)
    reader = asyncio.create_task(_read(requests, answer, queue))
    try:
        while (task := await queue.get()) is not None:
            yield await task
        await reader  # raises what ended the stream early
    finally:
        reader.cancel()
        while not queue.empty():
            if (left := queue.get_nowait()) is not None:
                left.cancel()


async def _read(
    requests: AsyncIterator[pb.PredictStreamRequest],
    answer: Answer,
    queue: asyncio.Queue[asyncio.Task[bytes] | None],
) -> None:
    try:
        async for request in requests:
            await queue.put(asyncio.create_task(_answer(request, answer)))
    finally:
        await queue.put(None)


async def _answer(request: pb.PredictStreamRequest, answer: Answer) -> bytes:
    try:
        data = await answer(request.request)
    except PushserveError as error:
        return _failed(error)
    except Exception:
        logger.exception("a request of a stream raised")
        failure = pb.PredictError(code=13, message=INTERNAL_TEXT, reason="INTERNAL")
        return pb.PredictStreamResponse(error=failure).SerializeToString()
    return _RESPONSE + varint(len(data)) + data


def _failed(error: PushserveError) -> bytes:
    violations = error.violations if isinstance(error, BadInput) else ()
    failure = pb.PredictError(
        code=status_code(error).value[0],
        message=error.message,
        reason=error.code_reason,
        violations=[
            pb.FieldViolation(field=v.field, description=v.description) for v in violations
        ],
    )
    return pb.PredictStreamResponse(error=failure).SerializeToString()
