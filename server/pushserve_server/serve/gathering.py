"""Runs small calls that arrive together as one, where that wins.

One run of a graph costs a server process about as much for 30 rows as for one. So while many
callers are at it, calls wait for each other: for as long as each millisecond brings more, five
at the most. Whether that wins cannot be told from the rate of calls, only by trying: a short
trial tells how many calls come together, and with too few of them calls run at once again,
until the next trial, which comes later after each vain one. So a caller who is left alone waits
for the rest of one trial, 20 calls, and not again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from pushserve_sandbox.frames import Array
from pushserve_server.errors import BadInput
from pushserve_server.serve.answering import Answering
from pushserve_server.serve.decoding import Request, joined

Run = Callable[[list[Array]], list[Array]]

TICK: Final = 0.001
"""A batch runs when this long brought no further call, in seconds: the loop's shortest timer."""
LONGEST: Final = 0.005
"""A batch runs at the latest after this long, in seconds."""
ENOUGH: Final = 5
"""Calls that must come together, on average, for waiting to win."""
_BUSY: Final = 1000.0
"""Below this many calls a second a trial is not worth it."""
_TRIAL: Final = 20
"""Batches of a trial, and of each later look at whether it still wins."""
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds from one vain trial to the next."""
_COUNTED: Final = 256


class Policy:
    """Decides whether calls wait for each other. Times are in seconds, from the caller's clock."""

    def __init__(self) -> None:
        self.waiting = False
        self._calls = 0
        self._since = 0.0
        self._batches = 0
        self._vain = 0
        self._not_before = 0.0

    def called(self, clock: Callable[[], float]) -> None:
        """Count a call that ran at once; begin a trial when many do."""
        self._calls += 1
        if self._calls < _COUNTED:
            return
        now = clock()
        rate = self._calls / max(now - self._since, 1e-6)
        self._calls, self._since = 0, now
        if rate > _BUSY and now >= self._not_before:
            self.waiting = True
            self._batches = 0

    def ran(self, calls: int, now: float) -> None:
        """Count a batch; stop waiting when too few calls came together."""
        self._calls += calls
        self._batches += 1
        if self._batches < _TRIAL:
            return
        won = self._calls >= ENOUGH * self._batches
        self._calls = self._batches = 0
        self._since = now
        if won:
            self._vain = 0
            return
        self.waiting = False
        self._not_before = now + _PAUSES[min(self._vain, len(_PAUSES) - 1)]
        self._vain += 1


class Gatherer:
    """Calls of one graph for one choice of outputs. Lives on one event loop.

    `policy` may be shared by all choices of outputs; None means that calls are never joined.
    A batch has at most `most_rows`, so that it does not hold up the loop.
    """

    def __init__(self, run: Run, policy: Policy | None, most_rows: int) -> None:
        self.run = run
        self._policy = policy
        self._most_rows = most_rows
        self._pending: list[_Call] = []
        self._seen = 0
        self._since = 0.0

    def predict(self, request: Request, answering: Answering) -> bytes | asyncio.Future[bytes]:
        """Answer now, or together with those that come in the next milliseconds.

        Raises:
            Exception: BadInput for what the request holds, or whatever the graph raises.
        """
        policy = self._policy
        if policy is None or not policy.waiting:
            if policy is not None:
                policy.called(time.monotonic)
            return answering.one(self.run(request.arrays))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        if not self._pending:
            self._seen, self._since = 1, time.monotonic()
            loop.call_later(TICK, self._look)
        self._pending.append((request, answering, future))
        return future

    def _look(self) -> None:
        """Wait on while more calls come, up to the longest time; then run what is there."""
        if len(self._pending) > self._seen and time.monotonic() - self._since < LONGEST:
            self._seen = len(self._pending)
            asyncio.get_running_loop().call_later(TICK, self._look)
        else:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if self._policy is not None:
            self._policy.ran(len(pending), time.monotonic())
        # Who gave up in the meantime (deadline, cancelled) is not computed for.
        live = [call for call in pending if not call[2].done()]
        while live:
            some = _take(live, self._most_rows)
            _answer(self.run, some)
            live = live[len(some) :]


_Call = tuple[Request, Answering, "asyncio.Future[bytes]"]


def _take(calls: list[_Call], most_rows: int) -> list[_Call]:
    """Give the first calls, up to the most rows of a batch, and one at the least."""
    rows = 0
    for i, call in enumerate(calls):
        rows += call[0].rows
        if i and rows > most_rows:
            return calls[:i]
    return calls


def _answer(run: Run, calls: list[_Call]) -> None:
    """Run the calls as one; if that raises, each alone, so that a bad one fails alone."""
    try:
        answers = _answers(run, _that_decode(calls))
    except Exception as error:  # noqa: BLE001 (what a graph raises goes to whose call it was)
        if len(calls) == 1:
            calls[0][2].set_exception(error)
            return
        for call in calls:
            if not call[2].done():
                _answer(run, [call])
        return
    for future, answer in answers:
        future.set_result(answer)


def _that_decode(calls: list[_Call]) -> tuple[list[_Call], list[Array]]:
    """Give the calls whose rows fit the signature, and these rows; the others fail here."""
    try:
        return calls, joined([call[0] for call in calls])
    except BadInput:
        good = [call for call in calls if _decodes(call)]
        return good, joined([call[0] for call in good]) if good else []


def _decodes(call: _Call) -> bool:
    try:
        call[0].arrays  # noqa: B018 (it raises what is wrong with them)
    except BadInput as error:
        call[2].set_exception(error)
        return False
    return True


def _answers(
    run: Run, decoded: tuple[list[_Call], list[Array]]
) -> Iterator[tuple[asyncio.Future[bytes], bytes]]:
    calls, arrays = decoded
    if not calls:
        return iter(())
    results, counts = run(arrays), [call[0].rows for call in calls]
    first = calls[0][1]
    if all(call[1] is first for call in calls):
        return zip((call[2] for call in calls), first.many(results, counts), strict=True)
    # The same outputs in several orders: rare.
    answers = [call[1].many(results, counts)[i] for i, call in enumerate(calls)]
    return zip((call[2] for call in calls), answers, strict=True)
