"""Core calls: Predict and PredictStream as gRPC's core hands them over.

Their events come on the core transport's thread; answers may come from any.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from grpc._cython import cygrpc  # type: ignore[attr-defined]

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.handlers import read
from pushserve_server.api.status import DETAILS_KEY, failure
from pushserve_server.api.stream_messages import stream_error, stream_response
from pushserve_server.errors import BadInput
from pushserve_server.serve.engines import graph_batching

WINDOW: Final = 64
"""Requests of one stream that are worked on, or wait to be read, at a time."""

_NO_FLAGS: Final = 0
_OK: Final = cygrpc.StatusCode.ok


class Call(graph_batching.PendingReply, Protocol):
    """One request, to be answered with a serialized PredictResponse, from any thread.

    The first answer counts; others are dropped.
    """

    deadline: float
    """When the caller gives up, in seconds since the epoch."""

    @property
    def size(self) -> int:
        """Bytes of the request."""

    def request(self) -> pb.PredictRequest:
        """Read it.

        Raises:
            BadInput: it is no such message.
        """

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done, on any thread, if the caller gives up before the answer."""


OnCall = Callable[[Call], None]


def start_unary(event: Any, on_call: OnCall) -> None:
    """Take up a call of Predict."""
    _Unary(event, on_call)


def start_stream(event: Any, on_call: OnCall) -> None:
    """Take up a call of PredictStream."""
    _Stream(event, on_call)


class _Unary:
    __slots__ = ("_answered", "_call", "_data", "_on_call", "deadline")

    def __init__(self, event: Any, on_call: OnCall) -> None:
        self._call = event.call
        self._on_call = on_call
        self._data = b""
        self._answered = False
        self.deadline = event.call_details.deadline
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._received)

    def _received(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None:
            self.fail(BadInput("the call brought no request"))
            return
        self._data = data
        self._on_call(self)

    @property
    def size(self) -> int:
        return len(self._data)

    def request(self) -> pb.PredictRequest:
        return read(self._data, pb.PredictRequest.FromString)

    def reply(self, data: bytes) -> None:
        self._end(
            cygrpc.SendMessageOperation(data, _NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(None, _OK, b"", _NO_FLAGS),
        )

    def fail(self, error: Exception) -> None:
        self._end(_status_operation(error))

    def _end(self, *operations: Any) -> None:
        if not self._answered:
            self._answered = True
            head = cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)
            self._call.start_server_batch((head, *operations), _nothing)

    def when_gone(self, do: Callable[[], object]) -> None:
        def closed(event: Any) -> None:
            if event.batch_operations[0].cancelled():
                do()

        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), closed)


class _Stream:
    """Reads on while few requests wait for their answers; sends these in order, one at a time."""

    def __init__(self, event: Any, on_call: OnCall) -> None:
        self._call = event.call
        self._on_call = on_call
        self.deadline = event.call_details.deadline
        self._lock = threading.Lock()
        self._waiting: deque[_StreamRequest] = deque()
        self._reading = True
        self._all_read = False
        self._sending = False
        self.gone = False
        for operation, tag in (
            (cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS), self._closed),
            (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), _nothing),
            (cygrpc.ReceiveMessageOperation(_NO_FLAGS), self._received),
        ):
            self._call.start_server_batch((operation,), tag)

    def _received(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None:
            with self._lock:
                self._all_read = True
                self._send_on()
            return
        streamed = _StreamRequest(self, data)
        with self._lock:
            self._waiting.append(streamed)
            self._reading = False
            self._read_on()
        self._on_call(streamed)

    def _read_on(self) -> None:
        if not self._reading and not self._all_read and len(self._waiting) < WINDOW:
            self._reading = True
            self._call.start_server_batch(
                (cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._received
            )

    def answered(self) -> None:
        """Send what can be sent now."""
        with self._lock:
            self._send_on()

    def _send_on(self) -> None:
        if self._sending or self.gone:
            return
        if not self._waiting:
            if self._all_read:
                self.gone = True
                status = cygrpc.SendStatusFromServerOperation(None, _OK, b"", _NO_FLAGS)
                self._call.start_server_batch((status,), _nothing)
            return
        answer = self._waiting[0].answer
        if answer is not None:
            self._waiting.popleft()
            self._sending = True
            self._call.start_server_batch(
                (cygrpc.SendMessageOperation(answer, _NO_FLAGS),), self._sent
            )
            self._read_on()

    def _sent(self, event: Any) -> None:
        with self._lock:
            self._sending = False
            if event.success:
                self._send_on()

    def _closed(self, event: Any) -> None:
        if event.batch_operations[0].cancelled():
            with self._lock:
                self.gone = True
                left = list(self._waiting)
            for streamed in left:
                streamed.give_up()


class _StreamRequest:
    """One request of a stream."""

    __slots__ = ("_data", "_do", "_stream", "answer", "deadline")

    def __init__(self, stream: _Stream, data: bytes) -> None:
        self._stream = stream
        self._data = data
        self._do: Callable[[], object] | None = None
        self.answer: bytes | None = None
        self.deadline = stream.deadline

    @property
    def size(self) -> int:
        return len(self._data)

    def request(self) -> pb.PredictRequest:
        return read(self._data, pb.PredictStreamRequest.FromString).request

    def reply(self, data: bytes) -> None:
        self._answer(stream_response(data))

    def fail(self, error: Exception) -> None:
        self._answer(stream_error(error))

    def _answer(self, answer: bytes) -> None:
        self._do = None
        if self.answer is None:
            self.answer = answer
            self._stream.answered()

    def when_gone(self, do: Callable[[], object]) -> None:
        self._do = do
        if self._stream.gone:
            do()

    def give_up(self) -> None:
        """Do what has to be done when the caller is gone."""
        if self._do is not None:
            self._do()


def _status_operation(error: Exception) -> Any:
    code, status = failure(error)
    metadata = ((DETAILS_KEY, status.SerializeToString()),)
    return cygrpc.SendStatusFromServerOperation(
        metadata, code.value[0], status.message.encode(), _NO_FLAGS
    )


def _nothing(event: Any) -> None:
    """Do nothing about an event."""
