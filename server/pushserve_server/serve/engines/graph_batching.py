"""Graph batching: calls of one graph that came together are answered by one run of it.

One run costs about as much for 30 rows as for one. A row that is wrong fails alone: what is not
finite is found before the run, and if the graph itself raises, each call runs by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pushserve_runtime.frames import Array
from pushserve_runtime.onnx_predictor import REFUSES
from pushserve_server.errors import BadInput, ModelFailed, PushserveError
from pushserve_server.serve.codec.decoding import DecodedRequest, joined
from pushserve_server.serve.codec.output_selection import OutputSelection

Run = Callable[[list[Array]], list[Array]]


class Inline(NamedTuple):
    """A graph that is quick enough to run between two calls.

    Several calls run as one while they have at most `most_rows`; 0 is for those that cannot.
    """

    run: Run
    most_rows: int


class PendingReply(Protocol):
    """Whoever waits for an answer: gets it, or the reason why there is none, once."""

    def reply(self, data: bytes) -> None:
        """Take the answer."""

    def fail(self, error: Exception) -> None:
        """Take what went wrong."""


class BatchedCall(NamedTuple):
    """Rows, how they are to be answered, and who waits for it."""

    request: DecodedRequest
    selection: OutputSelection
    pending: PendingReply


Calls = Sequence[BatchedCall]


def run_batch(inline: Inline, calls: Calls) -> None:
    """Answer every one of the calls, which want the same outputs of the same version.

    They may want them in different orders and forms: each is encoded by its own selection.
    """
    while calls:
        some = _take(calls, inline.most_rows)
        _answer(inline.run, some)
        calls = calls[len(some) :]


def _take(calls: Calls, most_rows: int) -> Calls:
    """Give the first calls, up to the most rows of a batch, and one at the least."""
    rows = 0
    for i, call in enumerate(calls):
        rows += call.request.rows
        if i and rows > most_rows:
            return calls[:i]
    return calls


def _answer(run: Run, calls: Calls) -> None:
    calls, arrays = _that_decode(calls)
    if not calls:
        return
    try:
        answers = _encoded(calls, run(arrays))
    except Exception as error:  # noqa: BLE001 (what a graph raises goes to whose call it was)
        if len(calls) == 1:
            calls[0].pending.fail(graph_failed(error))
            return
        for call in calls:
            _answer(run, [call])
        return
    for call, answer in zip(calls, answers, strict=True):
        call.pending.reply(answer)


def _encoded(calls: Calls, arrays: Sequence[Array]) -> list[bytes]:
    """Encode each call's rows; nearly always all of them by one selection."""
    first = calls[0].selection
    if all(call.selection is first for call in calls):
        return first.many(arrays, [call.request.rows for call in calls])
    answers, start = [], 0
    for call in calls:
        part = slice(start, start + call.request.rows)
        answers.append(call.selection.one([Array(a.dtype, a.values[part]) for a in arrays]))
        start = part.stop
    return answers


def _that_decode(calls: Calls) -> tuple[Calls, list[Array]]:
    """Give the calls whose rows fit the signature, and these rows; the others fail here."""
    try:
        return calls, joined([call.request for call in calls])
    except BadInput:
        good = [call for call in calls if _decodes(call)]
        return good, joined([call.request for call in good]) if good else []


def graph_failed(error: Exception) -> PushserveError:
    """Give what a caller is told when a run raises: ONNX Runtime has classes of its own."""
    if isinstance(error, PushserveError):
        return error
    if REFUSES in str(error):
        # As a worker says it: the estimator itself raises on such rows.
        return BadInput(
            "the model refuses these values, although they fit its signature",
            [],
            reason="MODEL_REJECTED",
        )
    failed = ModelFailed("the graph failed on these rows")
    failed.__cause__ = error
    return failed


def _decodes(call: BatchedCall) -> bool:
    try:
        call.request.arrays  # noqa: B018 (it raises what is wrong with them)
    except BadInput as error:
        call.pending.fail(error)
        return False
    return True
