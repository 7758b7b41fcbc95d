"""ItemCall: one request of an item stream, as a call of its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from pushserve_server.api.status import failure
from pushserve_server.api.transport.call import Call, Envelope, Listener, Metadata, Method

_OK: Final = 0


class ItemCall(ABC):
    """What both transports share of it. Metadata, peer and request id are the stream's."""

    __slots__ = (
        "_call", "_do", "_envelope", "_listener",
        "answer", "body", "deadline", "method", "principal", "request_id", "started",
    )  # fmt: skip

    def __init__(self, call: Call, method: Method, body: bytes, listener: Listener) -> None:
        assert method.envelope is not None  # noqa: S101 (items have one)
        self._call = call
        self._envelope: Envelope = method.envelope
        self._listener = listener
        self._do: Callable[[], object] | None = None
        self.answer: bytes | None = None
        """What goes into the stream; None while there is no answer."""
        self.body = body
        self.deadline = call.deadline
        self.method = method
        self.request_id = call.request_id
        self.principal = call.principal
        self.started = time.perf_counter()

    @property
    def metadata(self) -> Metadata:
        """The stream's."""
        return self._call.metadata

    @property
    def peer(self) -> str:
        """The stream's."""
        return self._call.peer

    def reply(self, data: bytes) -> None:
        """Put the response into its envelope."""
        self._end(self._envelope.response(data), _OK, len(data))

    def fail(self, error: Exception) -> None:
        """Put the error into its envelope."""
        failed = failure(error, self.request_id)
        self._end(self._envelope.error(failed), failed.number, 0)

    def _end(self, answer: bytes, code: int, size: int) -> None:
        self._do = None
        if self.answer is None:
            self.answer = answer
            self._listener.finished(self, code, size)
            self.answered()

    @abstractmethod
    def answered(self) -> None:
        """Have the stream send what it can."""

    @property
    @abstractmethod
    def gone(self) -> bool:
        """Whether the stream's caller has hung up."""

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done if the caller hangs up before the answer."""
        self._do = do
        if self.gone:
            do()

    def give_up(self) -> None:
        """Do what has to be done when the caller is gone."""
        if self._do is not None:
            self._do()
