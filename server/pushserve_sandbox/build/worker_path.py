"""Worker path: asks a model as a worker does, from a request's bytes to those of its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.frames import HEADER, Array, Kind, encode_arrays
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_runtime.result_frame import answer_limit, decode_result
from pushserve_runtime.signature import Layout, OutputSpec, Signature
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.worker.batcher import ROW_CAP, Batcher

_LARGEST: Final = 64 * 1024**2


class _Caller:
    """A connection that keeps what it is sent."""

    closed = False

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def queue(self, data: bytes) -> None:
        self.answers.append(data)


class WorkerPath:
    """A predictor that goes the way of calls: frames, batches, buffers that cannot be written.

    `joins_calls` as a worker has it. What the model raises is raised here.
    """

    def __init__(self, predictor: Predictor, folder: Path, *, joins_calls: bool) -> None:
        self._predictor = predictor
        self._by_number = dict(enumerate(predictor.signature.outputs))
        limit = answer_limit(predictor.signature, _LARGEST)
        self._batcher = Batcher(predictor, limit, folder, ROW_CAP if joins_calls else 0)

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._predictor.signature

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give the named outputs; see `Predictor`."""
        return self.predict_each([arrays], outputs)[0]

    def predict_each(
        self, requests: Sequence[Sequence[Array]], outputs: Sequence[str]
    ) -> list[list[Array]]:
        """Answer several callers whose requests have come together; see `predict`."""
        mask = sum(1 << i for i, spec in self._by_number.items() if spec.name in outputs)
        callers = [_Caller() for _ in requests]
        for number, (caller, arrays) in enumerate(zip(callers, requests, strict=True)):
            body = b"".join(encode_arrays(mask, len(arrays[0].values), arrays))
            self._batcher.add(caller, number, memoryview(body))  # type: ignore[arg-type]
        while self._batcher.has_work:
            self._batcher.run()
        specs = [spec for i, spec in self._by_number.items() if mask >> i & 1]
        return [
            self._answer(caller.answers[0], arrays, specs, outputs)
            for caller, arrays in zip(callers, requests, strict=True)
        ]

    def _answer(
        self,
        frame: bytes,
        arrays: Sequence[Array],
        specs: Sequence[OutputSpec],
        outputs: Sequence[str],
    ) -> list[Array]:
        _, _, kind = HEADER.unpack_from(frame)
        body = memoryview(frame)[HEADER.size :]
        if kind != Kind.RESULT:
            self._predictor.predict(arrays, outputs)  # raises what the worker has told of
            raise NotAnOutput(json.loads(bytes(body))["message"])
        found = decode_result(body, len(arrays[0].values), specs)
        if self.signature.layout is Layout.RECORDS:  # its objects are bytes for a caller to read
            return self._predictor.predict(arrays, outputs)
        by_name: dict[str, Any] = dict(zip([spec.name for spec in specs], found, strict=True))
        return [by_name[name] for name in outputs]
