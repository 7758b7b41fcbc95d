"""Engine: the interface of what runs predictions, whatever is behind it."""

from __future__ import annotations

from typing import Protocol

from pushserve_server.domain.records import EngineName
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.graph_batching import Inline


class Engine(Protocol):
    """Runs one version. Its methods are called on the event loop, `inline` on any thread."""

    name: EngineName
    size: int
    """Bytes that it takes in this process, known when it is loaded."""

    @property
    def ready(self) -> bool:
        """Whether a call would be answered without waiting for a load."""

    async def load(self) -> None:
        """Get ready: returns when calls are answered.

        Raises:
            Unavailable: it cannot be had now; try again.
            ModelFailed: it will never load.
        """

    def inline(self, request: DecodedRequest, selection: OutputSelection) -> Inline | None:
        """Give what computes so little that nobody need wait for it; None is `predict`'s."""

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Compute the outputs of `selection.mask`, and give what it makes of their arrays.

        Raises:
            Unavailable: the process that ran it died; the call may be tried again.
            BadInput: a value is not of the signature, or the model refuses it.
            ModelFailed: the model raised.
        """

    async def close(self) -> None:
        """Let go of everything. No call is in flight any more."""
