"""Doors asked: a pushed model behind the real decoding, worker code or graph, and encoding.

No processes: a request's bytes go through the client's messages, the server's decoder, the frames
between processes, the worker's batcher (or the graph's predictor), the server's encoder and the
client's reading of the answer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.protobuf import json_format, struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.from_messages import prediction_from_proto
from pushserve_client.input_messages import fill_inputs
from pushserve_runtime.frames import HEADER, Array, Kind, encode_arrays
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.job_spec import JobSpec
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.result_frame import decode_result
from pushserve_runtime.signature import DType, Signature
from pushserve_sandbox.worker.batcher import ROW_CAP, Batcher
from pushserve_sandbox.worker.main import load
from pushserve_server.api.doors.predict_inputs import request_from_proto
from pushserve_server.api.doors.predict_outputs import make_encoder
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadInput
from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder
from pushserve_server.serve.codec.output_selection import OutputSelection, plan_outputs

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Refused:
    """What a door said instead of an answer."""

    reason: str
    message: str


@dataclass
class _Caller:
    """Stands for a frontend's connection to a worker; keeps what is sent back."""

    closed: bool = False
    frames: list[bytes] = field(default_factory=list)

    def queue(self, data: bytes) -> None:
        self.frames.append(data)

    def __hash__(self) -> int:
        return id(self)


class Pushed:
    """A model that a build has let through, loaded as it is served.

    It is asked for every output, or for those alone that are given by `default`.
    """

    def __init__(
        self, spec: dict[str, Any], built: dict[str, Any], graph: Path | None, *, default: bool
    ) -> None:
        self.signature = Signature.from_json(built["signature"])
        self.engine = built["engine"]
        self.reason = built["report"]["engine_reason"]
        self._decoder = Decoder(self.signature, 100_000)
        if graph is not None:
            bounds = GraphBounds.from_json(built["bounds"])
            self._graph = OnnxPredictor.open(graph, self.signature, bounds)
        else:
            job = {
                **spec,
                "signature": built["signature"],
                "fast_path": built["report"]["fast_path"],
                "joins_calls": built["report"]["joins_calls"],
            }
            parsed = JobSpec.from_json(job)
            predictor, joins_calls = load(parsed)
            cap = ROW_CAP if joins_calls else 0
            self._batcher = Batcher(predictor, parsed.answer_limit, parsed.folder, cap)
        every = [output.name for output in self.signature.outputs]
        plan = plan_outputs(self.signature, [] if default else every)
        number = EngineName(self.engine)
        version = Version(
            1, "m", 1, "c" * 40, number, "d" * 64, self.signature, {}, datetime.now(UTC)
        )
        self._selection = OutputSelection(plan, make_encoder(version, plan.specs))
        self.names = [spec.name for spec in plan.specs]

    def table(self, inputs: Any) -> Outputs | Refused:
        """Ask as the client does: a frame is a table, a matrix of numbers a tensor."""
        return self.ask([self.message(inputs)])[0]

    def rows(self, frame: pd.DataFrame, keys: np.random.Generator) -> Outputs | Refused:
        """Ask with one JSON object for each row, whose keys come in any order."""
        return self.ask([self.rows_message(frame, keys)])[0]

    def message(self, inputs: Any) -> pb.PredictRequest:
        request = pb.PredictRequest()
        fill_inputs(request, inputs)
        return request

    def rows_message(self, frame: pd.DataFrame, keys: np.random.Generator) -> pb.PredictRequest:
        request = pb.PredictRequest()
        exact = {f.name for f in self.signature.inputs if f.dtype is DType.INT64 and not f.is_open}
        for record in json_records(frame, exact):
            order = keys.permutation(list(record)).tolist()
            request.rows.append(
                json_format.ParseDict({key: record[key] for key in order}, struct_pb2.Struct())
            )
        return request

    def ask(self, requests: list[pb.PredictRequest]) -> list[Outputs | Refused]:
        """Give the answers to requests that come together, each of them a caller's."""
        answers: list[Any] = []
        decoded: list[DecodedRequest] = []
        for request in requests:
            received = pb.PredictRequest.FromString(request.SerializeToString())
            try:
                one = request_from_proto(received, self._decoder)
                one.arrays  # noqa: B018 (a raw tensor is looked at when its arrays are asked for)
            except BadInput as error:
                answers.append(Refused(error.code_reason, str(error)))
                continue
            answers.append(None)
            decoded.append(one)
        given = iter(self._by_graph(decoded) if self.engine == "onnx" else self._by_worker(decoded))
        return [next(given) if answer is None else answer for answer in answers]

    def _by_graph(self, requests: list[DecodedRequest]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for request in requests:
            try:
                found.append(self._read(self._graph.predict(request.arrays, self.names)))
            except Exception as error:
                found.append(Refused("MODEL_REJECTED", str(error)))
        return found

    def _by_worker(self, requests: list[DecodedRequest]) -> list[Outputs | Refused]:
        callers = [_Caller() for _ in requests]
        numbers = enumerate(self.signature.outputs)
        mask = sum(1 << i for i, output in numbers if output.name in self.names)
        for number, (caller, request) in enumerate(zip(callers, requests, strict=True)):
            body = b"".join(bytes(p) for p in encode_arrays(mask, request.rows, request.arrays))
            self._batcher.add(caller, number, memoryview(body))
        while self._batcher.has_work:
            self._batcher.run()
        return [self._result(c, r) for c, r in zip(callers, requests, strict=True)]

    def _result(self, caller: _Caller, request: DecodedRequest) -> Outputs | Refused:
        (frame,) = caller.frames
        kind, body = HEADER.unpack_from(frame)[2], memoryview(frame)[HEADER.size :]
        if kind == Kind.ERROR:
            said = json.loads(bytes(body))
            return Refused(said["reason"], said.get("raised") or said.get("message") or "")
        wanted = [output for output in self.signature.outputs if output.name in self.names]
        return self._read(decode_result(body, request.rows, wanted))

    def _read(self, arrays: list[Array]) -> Outputs:
        message = pb.PredictResponse.FromString(self._selection.one(arrays))
        return dict(prediction_from_proto(message).outputs)


def json_records(frame: pd.DataFrame, exact: set[str]) -> list[dict[str, Any]]:
    """Give rows as JSON has them; ids of `exact` columns as texts where a number loses digits."""
    columns = {
        str(name): [_json(value, exact=str(name) in exact) for value in frame[name].tolist()]
        for name in frame.columns
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(len(frame))]


def _json(value: Any, *, exact: bool) -> Any:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53 and exact:
        return str(value)
    return value
