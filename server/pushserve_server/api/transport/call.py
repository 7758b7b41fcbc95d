"""Call: one RPC as a transport carries it, and Method: what answers it.

Two transports carry calls: gRPC's core (`core_server`) and grpc.aio (`aio_server`). Whoever
answers a call does not know which one it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pushserve_server.access.guard import Principal
from pushserve_server.api.status import Failure

Metadata = Sequence[tuple[str, str | bytes]]
"""Names are in lower case; those that end in "-bin" have bytes."""

WINDOW: Final = 64
"""Requests of one item stream that are worked on, or wait to be sent, at a time."""

REQUEST_ID: Final = "x-request-id"
"""Taken from the caller or made, and sent back in the trailing metadata."""


class Call(Protocol):
    """One RPC; or one request of an item stream, which is answered by itself.

    It is answered once, by `reply` or `fail`, from any thread; later answers are dropped.
    """

    method: Method
    deadline: float
    """When the caller gives up, in seconds since the epoch; infinity where it does not."""
    body: bytes
    """The serialized request; empty for a `StreamCall`."""
    request_id: str
    """Set when the call is admitted."""
    principal: Principal
    """Who calls; likewise."""
    started: float
    """When it came, by `time.perf_counter`, in seconds."""

    @property
    def metadata(self) -> Metadata:
        """What the caller sent beside the request."""

    @property
    def peer(self) -> str:
        """Who calls, as gRPC names it ("ipv4:127.0.0.1:50780")."""

    def reply(self, data: bytes) -> None:
        """Send the serialized response, and end well."""

    def fail(self, error: Exception) -> None:
        """End with the status of an error."""

    def when_gone(self, do: Callable[[], object]) -> None:
        """Have something done, on any thread, if the caller gives up before the answer."""


class StreamCall(Call, Protocol):
    """A call whose requests or responses are a stream. Its methods are for the event loop."""

    async def receive(self) -> bytes | None:
        """Wait for the next request; None when there are no more."""

    async def send(self, data: bytes) -> None:
        """Send a response; returns when the transport would take the next one.

        Raises:
            CallerGone: nobody is there to take it.
        """

    def finish(self) -> None:
        """End well, after all responses."""


class CallerGone(Exception):
    """The caller has hung up or its deadline has passed."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the answer to one request of an item stream is put into, as bytes."""

    response: Callable[[bytes], bytes]
    error: Callable[[Failure], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method of a service. One of `batch`, `unary`, `stream` and `items` answers it.

    `name` is "/package.Service/Method"; `group` names the limit that its calls count towards.
    """

    name: str
    group: str
    batch: Callable[[list[Any]], None] | None = None
    """Takes all calls that came together, on the transport's thread, and must not wait."""
    decode: Callable[[Any], Any] | None = None
    """What `batch` reads a call by: its door."""
    unary: Callable[[Any], Awaitable[bytes]] | None = None
    """Takes a call on the event loop, and gives the serialized response."""
    stream: Callable[[Any], AsyncIterator[bytes]] | None = None
    """Takes a `StreamCall` on the event loop, and gives serialized responses."""
    takes_stream: bool = False
    """Whether `stream` reads its requests by `receive`; else the only one is in `body`."""
    items: Method | None = None
    """What answers each request of the caller's stream, as a call of its own, in order."""
    envelope: Envelope | None = None
    """Of items: what their answers are put into."""


class Listener(Protocol):
    """Who is told of calls: the pipeline."""

    def method(self, name: str) -> Method | None:
        """Find what answers a method, by its full name."""

    def unknown(self, call: Call) -> None:
        """Refuse a call of a method that there is not."""

    def recognize(self, call: Call) -> None:
        """Find out who calls, where that can be asked before the request is read.

        Raises:
            PushserveError: they may not.
        """

    def admit(self, call: Call) -> None:
        """Admit an item stream, before its first request is read.

        Raises:
            PushserveError: it is refused.
        """

    def accept(self, calls: list[Call]) -> None:
        """Take what came since the last time: calls whose request is there, and items.

        They are admitted here.
        """

    async def drain(self, grace: float) -> None:
        """Refuse new calls, and wait up to `grace` seconds for those under way to be answered."""

    def finished(self, call: Call, code: int, size: int) -> None:
        """Note that a call or item has ended, on any thread; `size` is the bytes of its answer."""
