"""PredictTask: what a door has read of a call, in words that no protocol has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder
from pushserve_server.serve.codec.output_selection import MakeEncoder


class Target(NamedTuple):
    """Which version of a model answers: a ref's ("" is the default one), or a fixed one."""

    model: str
    ref: str = ""
    number: int | None = None
    commit: str | None = None

    @property
    def is_ref(self) -> bool:
        """Whether a ref says it."""
        return self.number is None and self.commit is None


class PredictTask(Protocol):
    """One request for predictions, whichever protocol it came by."""

    @property
    def target(self) -> Target:
        """Whom it is for."""

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the wanted outputs; none means the defaults."""

    @property
    def takes_long(self) -> bool:
        """Whether decoding it would hold up others."""

    @property
    def make_encoder(self) -> MakeEncoder:
        """What makes the encoder of answers; one object for all tasks of a door."""

    def decode(self, decoder: Decoder) -> DecodedRequest:
        """Read the rows.

        Raises:
            BadInput: they do not fit the signature.
        """
