"""A version that is loaded, with all that can be made once for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from pushserve_sandbox.frames import Array
from pushserve_sandbox.signature import OutputSpec, Signature
from pushserve_server.domain.records import Version
from pushserve_server.errors import BadInput, Violation
from pushserve_server.serve.decoding import Decoder, Request
from pushserve_server.serve.engine import Engine

_MOST_PLANS: Final = 64


Encode = Callable[[Sequence[Array]], bytes]
MakeEncoder = Callable[[Version, Sequence[OutputSpec]], Encode]
"""Makes what turns a version's outputs, in this order, into the bytes of an answer."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Which outputs to compute, and how to put them into the order asked for.

    `order[i]` is the place of the i-th wanted output among the engine's answers.
    """

    mask: int
    order: tuple[int, ...]
    specs: tuple[OutputSpec, ...]


class Answering:
    """One choice of outputs of one version: what to ask the engine for, how to answer."""

    __slots__ = ("encode", "mask", "order")

    def __init__(self, plan: OutputPlan, encode: Encode) -> None:
        self.mask = plan.mask
        self.order = None if plan.order == tuple(range(len(plan.order))) else plan.order
        self.encode = encode


def plan_outputs(signature: Signature, names: Sequence[str]) -> OutputPlan:
    """Resolve output names; none means the defaults.

    Raises:
        BadInput: a name is unknown or given twice.
    """
    known = {spec.name: i for i, spec in enumerate(signature.outputs)}
    wanted = tuple(names) or signature.default_outputs
    for i, name in enumerate(wanted):
        if name not in known or name in wanted[:i]:
            what = "is given twice" if name in known else "is not an output of this version"
            right = f"expected some of {', '.join(known)}"
            raise BadInput(
                f"output {name!r} {what}; {right}",
                [Violation("outputs", f"{name!r} {what}; {right}")],
                reason="UNKNOWN_OUTPUT",
            )
    indices = [known[name] for name in wanted]
    lowest_first = sorted(indices)
    return OutputPlan(
        mask=sum(1 << i for i in indices),
        order=tuple(lowest_first.index(i) for i in indices),
        specs=tuple(signature.outputs[i] for i in indices),
    )


class Live:
    """One loaded version: its engine, its decoder, and the calls that it is working on."""

    def __init__(
        self, version: Version, engine: Engine, make_encoder: MakeEncoder, max_rows: int
    ) -> None:
        self.version = version
        self.engine = engine
        self.decoder = Decoder(version.signature, max_rows)
        self._make_encoder = make_encoder
        self._default = self._make_answering(())
        self._others: dict[tuple[str, ...], Answering] = {}
        self.called_at = monotonic()
        self._in_flight = 0
        self._idle: asyncio.Event | None = None

    @property
    def busy(self) -> bool:
        """Whether calls are in flight."""
        return self._in_flight > 0

    def answering(self, names: Sequence[str]) -> Answering:
        """Give how to answer with these outputs, made once.

        Raises:
            BadInput: a name is unknown or given twice.
        """
        if not names:
            return self._default
        key = tuple(names)
        found = self._others.get(key)
        if found is None:
            found = self._make_answering(key)
            if len(self._others) < _MOST_PLANS:
                self._others[key] = found
        return found

    def _make_answering(self, names: tuple[str, ...]) -> Answering:
        plan = plan_outputs(self.version.signature, names)
        return Answering(plan, self._make_encoder(self.version, plan.specs))

    async def predict(self, request: Request, names: Sequence[str] = ()) -> bytes:
        """Run the engine; give the encoded answer."""
        answering = self.answering(names)
        self._in_flight += 1
        self.called_at = monotonic()
        try:
            arrays = await self.engine.predict(request, answering.mask)
        finally:
            self._in_flight -= 1
            if self._idle is not None and self._in_flight == 0:
                self._idle.set()
        if answering.order is not None:
            arrays = [arrays[i] for i in answering.order]
        return answering.encode(arrays)

    async def close(self) -> None:
        """Wait for the calls in flight, then let the engine go."""
        if self._in_flight:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await self.engine.close()
