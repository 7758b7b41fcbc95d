"""Request streams: the requests of a `predict_stream`, made as its inputs come.

gRPC reads them where nobody sees an exception. So a stream of requests ends where the caller's
iterator, or the making of a request, raises; what was sent before is answered, and leaving the
stream, a context manager, raises it then.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadArgument, ClientError

if TYPE_CHECKING:
    from typing_extensions import Self


class _Stream:
    """Keeps what ended a stream of requests before its inputs ended."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._error is not None and (error is None or isinstance(error, ClientError)):
            raise self._error


class RequestStream(_Stream):
    """The requests that `make` makes of `inputs`, for the client that blocks."""

    def __init__(self, inputs: Iterable[Any], make: Callable[[Any], pb.PredictRequest]) -> None:
        super().__init__()
        _check_inputs(inputs, may_be_async=False)
        self._inputs = inputs
        self._make = make

    def requests(self) -> Iterator[pb.PredictStreamRequest]:
        """Make them as gRPC asks for them."""
        try:
            for one in self._inputs:
                yield pb.PredictStreamRequest(request=self._make(one))
        except Exception as error:  # noqa: BLE001 -- the caller's own, raised to him later
            self._error = error


class AsyncRequestStream(_Stream):
    """The same of an iterable of either kind, for asyncio."""

    def __init__(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        make: Callable[[Any], Awaitable[pb.PredictRequest]],
    ) -> None:
        super().__init__()
        _check_inputs(inputs, may_be_async=True)
        self._inputs = inputs
        self._make = make

    async def requests(self) -> AsyncIterator[pb.PredictStreamRequest]:
        """Make them as gRPC asks for them."""
        try:
            async for one in _both_kinds(self._inputs):
                yield pb.PredictStreamRequest(request=await self._make(one))
        except Exception as error:  # noqa: BLE001 -- the caller's own, raised to him later
            self._error = error


async def _both_kinds(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for one in inputs:
            yield one
    else:
        for one in inputs:
            yield one


def _check_inputs(inputs: object, *, may_be_async: bool) -> None:
    if hasattr(inputs, "columns") or isinstance(inputs, (str, dict)):
        raise BadArgument(
            f"inputs: expected an iterable of what predict takes, got one {type(inputs).__name__}; "
            "for one request give [inputs]"
        )
    if isinstance(inputs, AsyncIterable):
        if not may_be_async:
            raise BadArgument("inputs: an async iterable is for AsyncClient")
    elif not isinstance(inputs, Iterable) and not hasattr(inputs, "__getitem__"):
        raise BadArgument(f"inputs: expected an iterable, got {type(inputs).__name__}")
