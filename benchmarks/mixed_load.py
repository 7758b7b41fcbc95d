"""Mixed load: callers of different kinds, each on a connection of its own, that check answers.

A call has failed where it brought another status than it has to, or an answer that no version
of the model could give.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import grpc
import models
import numpy as np

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc

ENGINES = ("onnx", "worker")
VARIANTS = 4
"""Kinds of each model that are pushed in turn; an answer is one of theirs."""
MANY = 256
STREAMED = 50
BAD_EVERY = 9
"""Of a stream's requests, every so many-th has a bad row."""
BAD = {"logistic": np.nan, "forest": np.inf}
"""What scikit-learn refuses; a forest takes NaN for a missing value."""
TIMEOUT = 20

Ask = Callable[[pb_grpc.ModelServiceStub], str]
"""Calls once; says what was wrong with the answer, "" if nothing was."""


@dataclass
class Kind:
    """What the callers of one kind saw. `times` are in seconds."""

    times: array = field(default_factory=lambda: array("d"))
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Caller:
    """Asks, pauses for so many seconds, and asks again."""

    kind: str
    ask: Ask
    pause: float


class MixedLoad:
    """All callers, from `start` to `stop`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.kinds: dict[str, Kind] = defaultdict(Kind)
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in callers()]

    @property
    def calls(self) -> int:
        return sum(len(kind.times) for kind in list(self.kinds.values()))

    @property
    def failed(self) -> int:
        return sum(kind.failures.total() for kind in list(self.kinds.values()))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every caller's last call end."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT)

    def _run(self, caller: Caller) -> None:
        # A local pool: connections of their own, so that every frontend gets some.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            while not self._stopped.is_set():
                begun = time.perf_counter()
                try:
                    wrong = caller.ask(stub)
                except grpc.RpcError as error:
                    wrong = f"{error.code().name}: {error.details()}"
                took = time.perf_counter() - begun
                with self._lock:
                    kind = self.kinds[caller.kind]
                    kind.times.append(took)
                    if wrong:
                        kind.failures[wrong] += 1
                self._stopped.wait(caller.pause)


def callers() -> Iterator[Caller]:
    """Give them: for both engines one row, many rows, streams and bad rows; and List and Get."""
    for engine in ENGINES:
        for name in models.MODELS:
            for _ in range(2):
                yield Caller(f"Predict, 1 row, {engine}", predict(name, engine, 1), 0.02)
            many = predict(name, engine, MANY)
            yield Caller(f"Predict, {MANY} rows, {engine}", many, 0.1)
            yield Caller(f"Predict, bad row, {engine}", refused(name, engine), 0.05)
        yield Caller(f"PredictStream, {STREAMED} requests, {engine}", stream(engine), 0.2)
    yield Caller("List", listed, 0.2)
    yield Caller("Get", got, 0.2)


def request(name: str, engine: str, count: int, bad: int | None = None) -> pb.PredictRequest:
    """Ask for `count` rows; `bad` is the index of one that has to be refused."""
    rows = models.rows(name, count)
    if bad is not None:
        rows[bad, 0] = BAD[name]
    tensor = pb.Tensor(shape=rows.shape, raw=rows.tobytes(), dtype=pb.DATA_TYPE_FLOAT64)
    return pb.PredictRequest(model=f"{name}-{engine}", tensor=tensor)


def predict(name: str, engine: str, count: int) -> Ask:
    message = request(name, engine, count)
    return lambda stub: wrong_answer(stub.Predict(message, timeout=TIMEOUT), name, count)


def wrong_answer(reply: pb.PredictResponse, name: str, count: int) -> str:
    outputs = {output.name: output for output in reply.outputs}
    values = np.asarray(outputs["probabilities"].doubles.values).reshape(count, -1)
    for variant in range(VARIANTS):
        if np.allclose(values, models.expected(name, count, variant), rtol=0, atol=1e-6):
            return ""
    return f"an answer of no version of {name}"


def refused(name: str, engine: str) -> Ask:
    """Bring a bad row, which has to be refused, among the good rows of others."""
    message = request(name, engine, 1, bad=0)

    def ask(stub: pb_grpc.ModelServiceStub) -> str:
        try:
            stub.Predict(message, timeout=TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return ""
            raise
        return "a bad row was answered"

    return ask


def stream(engine: str) -> Ask:
    """Send both models' rows in turn, a bad one now and then."""
    sent = []
    names = list(models.MODELS)
    for i in range(STREAMED):
        bad = 0 if i % BAD_EVERY == BAD_EVERY - 1 else None
        message = request(names[i % len(names)], engine, 1, bad)
        sent.append(pb.PredictStreamRequest(request=message))

    def ask(stub: pb_grpc.ModelServiceStub) -> str:
        return wrong_stream(stub.PredictStream(iter(sent), timeout=TIMEOUT), names)

    return ask


def wrong_stream(replies: Iterable[pb.PredictStreamResponse], names: list[str]) -> str:
    count = 0
    for i, reply in enumerate(replies):
        count += 1
        if i % BAD_EVERY == BAD_EVERY - 1:
            if reply.error.reason != "NOT_FINITE":
                return f"a bad row in a stream gave {reply.error.reason or 'an answer'}"
        elif reply.WhichOneof("result") == "error":
            return f"a good request in a stream gave {reply.error.reason}"
        elif wrong := wrong_answer(reply.response, names[i % len(names)], 1):
            return wrong
    return "" if count == STREAMED else f"a stream of {STREAMED} gave {count} answers"


def listed(stub: pb_grpc.ModelServiceStub) -> str:
    count = len(stub.List(pb.ListRequest(), timeout=TIMEOUT).models)
    return "" if count == len(ENGINES) * len(models.MODELS) else f"List gave {count} models"


def got(stub: pb_grpc.ModelServiceStub) -> str:
    reply = stub.Get(pb.GetRequest(model=f"logistic-{ENGINES[0]}"), timeout=TIMEOUT)
    return "" if reply.version.number else "Get gave no version"
