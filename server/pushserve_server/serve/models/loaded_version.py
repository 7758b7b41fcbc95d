"""Loaded version: its engine, its decoder, and all that can be made once for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from pushserve_server.domain.records import Version
from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder
from pushserve_server.serve.codec.output_selection import MakeEncoder, OutputSelection, plan_outputs
from pushserve_server.serve.engines.engine import Engine
from pushserve_server.serve.wait_limit import FEW, WaitLimiter

_MOST_PLANS: Final = 64


class LoadedVersion:
    """One loaded version: its engine, its decoder, and the calls that it is working on."""

    def __init__(
        self,
        version: Version,
        engine: Engine,
        *,
        max_rows: int,
        max_wait: float,
    ) -> None:
        self.version = version
        self.engine = engine
        self.decoder = Decoder(version.signature, max_rows)
        self._defaults: dict[MakeEncoder, OutputSelection] = {}
        self._others: dict[tuple[MakeEncoder, tuple[str, ...]], OutputSelection] = {}
        self.called_at = monotonic()
        self._limiter = WaitLimiter(max_wait)
        self._in_flight = 0
        self._held = 0
        self._idle: asyncio.Event | None = None

    @property
    def busy(self) -> bool:
        """Whether calls are in flight, or about to be."""
        return self._in_flight > 0 or self._held > 0

    def selection(self, names: Sequence[str], make_encoder: MakeEncoder) -> OutputSelection:
        """Give how to answer with these outputs, made once for each door.

        Raises:
            BadInput: a name is unknown or given twice.
        """
        if not names:
            default = self._defaults.get(make_encoder)
            if default is None:
                default = self._defaults[make_encoder] = self._make_selection((), make_encoder)
            return default
        key = make_encoder, tuple(names)
        found = self._others.get(key)
        if found is None:
            found = self._make_selection(key[1], make_encoder)
            if len(self._others) < _MOST_PLANS:
                self._others[key] = found
        return found

    def _make_selection(self, names: tuple[str, ...], make_encoder: MakeEncoder) -> OutputSelection:
        plan = plan_outputs(self.version.signature, names)
        return OutputSelection(plan, make_encoder(self.version, plan.specs), owner=self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the version loaded, from where it was looked up to its answer."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._see_whether_idle()

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Run the engine; give the answer as bytes.

        Raises:
            Overloaded: it would have to wait for too long.
            PushserveError: as `Engine.predict`.
        """
        self.called_at = now = monotonic()
        if not self._in_flight:
            self._limiter.begin(now)
        elif self._in_flight >= FEW:
            self._limiter.check(self._in_flight, now)
        self._in_flight += 1
        try:
            return await self.engine.predict(request, selection)
        finally:
            self._in_flight -= 1
            self._limiter.ended += 1
            self._see_whether_idle()

    def _see_whether_idle(self) -> None:
        if self._idle is not None and not self.busy:
            self._idle.set()

    async def close(self) -> None:
        """Wait for the calls in flight, then let the engine go."""
        if self.busy:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await self.engine.close()
