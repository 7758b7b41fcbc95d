"""Worker connection: one to a worker; frames out, frames in, each answer matched to its request.

The worker runs code of a repository. What it sends is taken where it was asked for and no larger
than that allows; anything else ends the connection, and so does silence.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from pushserve_runtime.build_error import printable
from pushserve_runtime.frame_splitter import FrameSplitter
from pushserve_runtime.frames import FrameError, Kind, encode_frame
from pushserve_server.domain.records import Version
from pushserve_server.errors import BadAnswer, BadInput, ModelFailed, Overloaded, Unavailable
from pushserve_server.unix_sockets import FileId, file_id
from pushserve_server.worker_sockets import BROKEN, HUNG, Complaint, complain, why_gone

logger = logging.getLogger(__name__)

_MOST_ASKED: Final = 4096
"""Requests without an answer, those that nobody waits for any more among them."""
_MOST_UNSENT: Final = 32 * 1024**2
"""Bytes that wait for the worker to read them."""
_READY_LIMIT: Final = 4096
_ERROR_LIMIT: Final = 64 * 1024
_RAISED_LIMIT: Final = 600
"""Characters of what a model raised, with its place."""
_KEPT_FROM: Final = {
    "file": "a file that is not the model's",
    "process": "starting a thread or a process",
}
_SUSPECT: Final = 1.0
"""After so many seconds of silence others of the version are asked first."""

_Asked = tuple["asyncio.Future[memoryview]", Kind, int, float]
"""Who waits, the kind of frame that answers, the most that its length may say, when it was sent."""


class WorkerStopped(Unavailable):
    """The server has stopped a worker, which answers first what it has read.

    So the request that this is raised for was not begun.
    """


class WorkerConnection(asyncio.Protocol):
    """Frames to the process behind `path`; one that is silent for `patience` seconds hangs.

    `ended` is called once, before anybody else gets to run, when it can be asked no more. With
    `shows_errors`, callers are told what the model's code raised.
    """

    def __init__(
        self,
        version: Version,
        path: Path,
        patience: float,
        ended: Callable[[], None],
        *,
        shows_errors: bool,
    ) -> None:
        self._shows_errors = shows_errors
        self._version = version
        self._path = path
        self._patience = patience
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._splitter = FrameSplitter(self._admit)
        self._transport: asyncio.Transport | None = None
        self._file: FileId | None = None
        self.closed = asyncio.Event()

    @property
    def outstanding(self) -> int:
        """How many requests the worker has yet to answer."""
        return len(self._asked)

    def is_suspect(self, now: float) -> bool:
        """Whether the worker owes answers and has been silent. `now` is the loop's time."""
        return bool(self._asked) and now - self._heard > _SUSPECT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._file = file_id(self._path)

    async def hello(self) -> None:
        """Wait until the worker has loaded its model.

        Raises:
            Unavailable: the connection broke first.
        """
        await self._ask(Kind.HELLO, (), Kind.READY, _READY_LIMIT)

    async def predict(self, body: Any, most: int) -> memoryview:
        """Send a PREDICT frame and give the RESULT's body, whose length may say `most`.

        Raises:
            Overloaded: the worker does not take in what it has been sent already.
            WorkerStopped: it was stopped before it read this.
        Unavailable: it ended, or was ended because it did not answer.
            BadInput, BadAnswer, ModelFailed: as the worker says.
        """
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._look)
        if not self._asked:
            self._heard = self._loop.time()
        return await self._ask(Kind.PREDICT, body, Kind.RESULT, most)

    async def _ask(self, kind: Kind, body: Any, answer: Kind, most: int) -> memoryview:
        transport = self._transport
        if transport is None or self.closed.is_set():
            raise self.lost()
        if len(self._asked) >= _MOST_ASKED or transport.get_write_buffer_size() > _MOST_UNSENT:
            raise Overloaded(f"the worker of {self._named} is behind; try again shortly", 1.0)
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        future: asyncio.Future[memoryview] = self._loop.create_future()
        self._asked[number] = (future, answer, most, self._loop.time())
        transport.writelines(encode_frame(number, kind, body))
        try:
            return await future
        except asyncio.CancelledError:
            # The caller hung up, or its deadline has passed. The worker answers all the same.
            if not transport.is_closing():
                transport.writelines(encode_frame(number, Kind.CANCEL))
            raise

    def _admit(self, size: int, number: int, kind: int) -> None:
        asked = self._asked.get(number)
        if asked is None:
            raise FrameError("an answer that nobody asked for")
        future, answer, most, _ = asked
        if kind == Kind.ERROR:
            most = _ERROR_LIMIT
        elif kind != answer and not (kind == Kind.DROPPED and future.done()):
            raise FrameError(f"a frame of kind {kind} for one of kind {answer}")
        if size > most:
            raise FrameError(f"an answer of {size} bytes where {most} are the most")

    def data_received(self, data: bytes) -> None:
        """Hand each answer to whoever waits for it."""
        self._heard = self._loop.time()
        try:
            for frame in self._splitter.feed(data):
                self._take(*frame)
        except FrameError as error:
            self.break_off(error)

    def _take(self, number: int, kind: int, body: memoryview) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            raise FrameError("an answer that came twice")
        future = asked[0]
        if future.done():
            return
        if kind == Kind.ERROR:
            future.set_exception(_error_from(body, shows_errors=self._shows_errors))
        else:
            future.set_result(body)

    def break_off(self, error: FrameError) -> None:
        """End the connection to a worker that sent what it should not."""
        if not self.closed.is_set():
            logger.warning("a worker of %s is not to be trusted: %s", self._named, error)
            self._complain(Complaint(BROKEN, "sent what was not asked for"))

    def _look(self) -> None:
        """See whether the worker is silent, or leaves out one that it was asked."""
        self._watch = None
        if not self._asked:
            return
        now = self._loop.time()
        oldest = next(iter(self._asked.values()))[3]
        # Who is asked first waits for the batch that runs, and for its own.
        end = min(self._heard + self._patience, oldest + 2 * self._patience)
        if now >= end:
            self._complain(Complaint(HUNG, f"did not answer for {self._patience:g} s"))
        else:
            self._watch = self._loop.call_at(end, self._look)

    def _complain(self, complaint: Complaint) -> None:
        complain(self._path, complaint)
        self._end()
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio names it)
        """Tell those who wait why."""
        self._end()

    def _end(self) -> None:
        if self.closed.is_set():
            return
        self.closed.set()
        self._ended()
        if self._watch is not None:
            self._watch.cancel()
        asked, self._asked = self._asked, {}
        complaint = why_gone(self._path)
        for future, _, _, _ in asked.values():
            if not future.done():
                future.set_exception(self._lost(complaint))

    def lost(self) -> Unavailable:
        """Say why no answer comes from the worker any more."""
        return self._lost(why_gone(self._path))

    def _lost(self, complaint: Complaint | None) -> Unavailable:
        if complaint is None and file_id(self._path) != self._file:
            # Whoever stops a worker takes its socket's name away first.
            text = f"the worker of {self._named} was stopped; try again"
            return WorkerStopped(text, 1.0, reason="WORKER_STARTING")
        if complaint is None:
            text = f"the process that ran {self._named} ended; it is being started again"
            return Unavailable(text, reason="WORKER_DIED")
        text = f"the worker of {self._named} {complaint.what}; it is being started again"
        return Unavailable(text, 1.0, reason=complaint.reason)

    @property
    def _named(self) -> str:
        return f"{self._version.model} v{self._version.number}"

    def abort(self) -> None:
        """Close at once; what waits gets `Unavailable`."""
        if self._transport is not None:
            self._transport.abort()


def _error_from(body: memoryview, *, shows_errors: bool) -> Exception:
    """Build the error that an ERROR frame stands for. The worker is not trusted."""
    try:
        data = json.loads(bytes(body))
        reason, text = str(data["reason"]), printable(str(data["message"]))
        raised = printable(str(data.get("raised", "")), _RAISED_LIMIT) if shows_errors else ""
        kept_from = _KEPT_FROM.get(str(data.get("kept_from", "")), "")
    except (ValueError, TypeError, KeyError, RecursionError):
        return ModelFailed("the worker sent an error that cannot be read")
    if reason in ("ANSWER_TOO_LARGE", "ANSWER_INVALID"):
        return BadAnswer(f"the model's answer cannot be sent: {text}", reason=reason)
    end = f": {raised}" if raised else ""
    if kept_from:
        return ModelFailed(f"the sandbox kept the model's code from {kept_from}{end}")
    if reason == "MODEL_REJECTED":
        said = "the model refuses these values, although they fit its signature"
        return BadInput(said + end, reason="MODEL_REJECTED")
    return ModelFailed(f"the model failed on these rows, although they fit its signature{end}")
