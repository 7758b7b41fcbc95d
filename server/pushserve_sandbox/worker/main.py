"""Worker job: keeps one model loaded and answers frames on a listening socket.

One thread: it takes what has arrived on all connections, predicts it in batches, answers,
and looks again. So what comes in while it predicts makes up the next batch, and a caller
who is alone never waits for others.

On the channel it says {"ready": true} or {"ready": false, "reason": …, …}. It ends when the
channel does, or on {"stop": true}, after it has answered what was queued. {"listen": true} with a
socket has it accept on that one from then on, because the file of the one before has gone.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import socket
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.frames import FrameError, Kind, encode_json
from pushserve_runtime.job_spec import JobSpec
from pushserve_runtime.result_frame import answer_limit
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.example_files import read_examples
from pushserve_sandbox.loading.load import (
    choose_fast_path,
    joins_by_default,
    make_predictor,
    read_model,
)
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.worker.batcher import ROW_CAP, Batcher
from pushserve_sandbox.worker.frontend_connection import Connection
from pushserve_sandbox.worker.warmup import warm_up

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 256


def main(channel: socket.socket, listener: socket.socket, spec: Mapping[str, Any]) -> None:
    """Load the model that `spec` names and serve it until the channel ends."""
    job = JobSpec.from_json(spec)
    try:
        predictor, joins_calls = load(job)
    except BuildFailed as failure:
        messages.send(channel, {"ready": False, **failure.to_json()})
        return
    warnings.simplefilter("ignore")  # the build's report has them
    limit = answer_limit(predictor.signature, job.answer_limit)
    batcher = Batcher(predictor, limit, job.folder, ROW_CAP if joins_calls else 0)
    server = Server(channel, listener, batcher)
    messages.send(channel, {"ready": True})
    server.serve()


def load(spec: JobSpec) -> tuple[Predictor, bool]:
    """Load a model and run it once; say whether the rows of several calls may be joined.

    Raises:
        BuildFailed: it cannot be loaded.
    """
    notes = Notes()
    examples = read_examples(spec.folder / spec.examples) if spec.examples else []
    inputs = [example.input for example in examples]
    model = read_model(spec, notes)
    loaded = make_predictor(model, spec, inputs, notes)
    predictor = choose_fast_path(loaded, model, spec, inputs, notes).predictor
    with notes.taken():
        warm_up(predictor, inputs)
    gc.collect()
    gc.freeze()  # the model is never garbage; collections need not look at it
    joins = spec.joins_calls
    return predictor, joins_by_default(model, predictor) if joins is None else joins


class Server:
    """Connections of one worker, and the batcher behind them."""

    def __init__(self, channel: socket.socket, listener: socket.socket, batcher: Batcher) -> None:
        self._channel = channel
        self._inbox = messages.Inbox()
        self._batcher = batcher
        self._connections: set[Connection] = set()
        self._interest: dict[Connection, int] = {}
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._listen_at(listener)
        self._selector.register(channel, selectors.EVENT_READ)

    def _listen_at(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until the channel ends; then answer what is queued and return."""
        while not self._stopping:
            self._turn(0.0 if self._batcher.has_work else None)
        self._selector.unregister(self._listener)
        self._selector.unregister(self._channel)
        self._listener.close()
        deadline = time.monotonic() + DRAIN_SECONDS
        self._turn(0.0)
        while self._batcher.has_work and time.monotonic() < deadline:
            self._turn(0.0)
        while any(item.has_output for item in self._connections) and time.monotonic() < deadline:
            self._turn(0.1)
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()

    def _turn(self, timeout: float | None) -> None:
        """Take what has arrived everywhere, then answer one batch of it.

        One, so that whoever asks whether this process is alive waits for no more than that.
        """
        for key, events in self._selector.select(timeout):
            connection = key.data
            if connection is None:
                self._control(key.fileobj)
                continue
            if events & selectors.EVENT_WRITE:
                connection.flush()
            if events & selectors.EVENT_READ:
                self._read(connection)
            self._settle(connection)
        for connection in self._batcher.run():
            connection.flush()
            self._settle(connection)

    def _control(self, source: object) -> None:
        if source is self._listener:
            self._accept()
            return
        try:
            self._stopping = not self._inbox.read(self._channel)
            while (message := self._inbox.take()) is not None:
                self._obey(message)
        except (messages.ChannelError, OSError):
            self._stopping = True
        self._inbox.close()

    def _obey(self, message: Mapping[str, Any]) -> None:
        if message.get("listen") and self._inbox.fds:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listen_at(socket.socket(fileno=self._inbox.fds.pop(0)))
        self._stopping = self._stopping or bool(message.get("stop"))

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = Connection(sock)
        self._connections.add(connection)
        self._interest[connection] = selectors.EVENT_READ
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> None:
        try:
            for request, kind, body in connection.read():
                if kind == Kind.PREDICT:
                    self._batcher.add(connection, request, body)
                elif kind == Kind.CANCEL:
                    self._batcher.cancel(connection, request)
                else:
                    self._greet(connection, request, kind)
        except (FrameError, RecursionError) as error:
            logger.warning("a connection is closed: %s", error)
            connection.closed = True

    def _greet(self, connection: Connection, request: int, kind: int) -> None:
        if kind != Kind.HELLO:
            raise FrameError(f"a frame of kind {kind}")
        connection.queue(b"".join(encode_json(request, Kind.READY, {"pid": os.getpid()})))
        connection.flush()

    def _settle(self, connection: Connection) -> None:
        """Watch a connection for what it can do next, or forget it."""
        if connection.closed:
            self._drop(connection)
            return
        wanted = 0 if connection.is_congested else selectors.EVENT_READ
        if connection.has_output:
            wanted |= selectors.EVENT_WRITE
        if wanted != self._interest[connection]:
            self._interest[connection] = wanted
            self._selector.modify(connection.sock, wanted, connection)

    def _drop(self, connection: Connection) -> None:
        connection.closed = True
        if connection in self._connections:
            self._connections.discard(connection)
            del self._interest[connection]
            with suppress(KeyError):
                self._selector.unregister(connection.sock)
            connection.sock.close()
