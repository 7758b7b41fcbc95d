"""What each server is asked, and how its answer is read: rows, probabilities of each class."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import models
import numpy as np

from pushserve.v1 import model_service_pb2 as pb

PROTOS = Path(__file__).with_name("peers")
sys.path.append(str(PROTOS))  # where grpc.protos looks
inference = grpc.protos("inference.proto")
predictor = grpc.protos("predictor.proto")


@dataclass(frozen=True)
class Wire:
    """A protocol: `request(model, rows)` and `probabilities(reply)` convert to and from bytes."""

    method: str
    request: Callable[[str, np.ndarray], bytes]
    probabilities: Callable[[bytes], np.ndarray]

    def ask(self, address: str, model: str, rows: int = 1) -> bytes:
        """Call once, insist on scikit-learn's own answer, and give the reply's bytes."""
        reply = self._reply(address, self.request(model, models.rows(model, rows)))
        got, expected = self.probabilities(reply).ravel(), models.expected(model, rows).ravel()
        assert np.allclose(got, expected, rtol=0, atol=1e-6), (model, got, expected)
        return reply

    def _reply(self, address: str, request: bytes) -> bytes:
        # A local pool: another channel to the address may be in its back-off.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            return self._call(channel, request)

    def _call(self, channel: grpc.Channel, request: bytes) -> bytes:
        call: Any = channel.unary_unary(f"/{self.method}")
        return call(request, timeout=20)


class _Stream(Wire):
    """The method takes a stream; one request of it is asked."""

    def _call(self, channel: grpc.Channel, request: bytes) -> bytes:
        call: Any = channel.stream_stream(f"/{self.method}")
        return next(call(iter([request]), timeout=20))


class _Echo(Wire):
    """What comes back are the request's own bytes, for any model."""

    def ask(self, address: str, model: str, rows: int = 1) -> bytes:
        request = self.request(model, models.rows(model, rows))
        reply = self._reply(address, request)
        assert reply == request, reply
        return reply


def echo() -> Wire:
    """The no-op in echo.py: it computes nothing."""
    return _Echo("bench.Echo/Echo", lambda _model, _rows: b"x" * 64, lambda _reply: np.empty(0))


def pushserve(engine: str) -> Wire:
    """`Predict` of the model that runs on `engine`; labels come along."""
    return Wire(
        "pushserve.v1.ModelService/Predict",
        lambda model, rows: _predict(f"{model}-{engine}", rows).SerializeToString(),
        lambda reply: _answered(pb.PredictResponse.FromString(reply)),
    )


def pushserve_stream(engine: str) -> Wire:
    """`PredictStream`, likewise."""

    def request(model: str, rows: np.ndarray) -> bytes:
        message = _predict(f"{model}-{engine}", rows)
        return pb.PredictStreamRequest(request=message).SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        message = pb.PredictStreamResponse.FromString(reply)
        assert message.HasField("response"), message.error
        return _answered(message.response)

    return _Stream("pushserve.v1.ModelService/PredictStream", request, probabilities)


def _predict(name: str, rows: np.ndarray) -> pb.PredictRequest:
    raw = np.ascontiguousarray(rows, "<f8").tobytes()
    tensor = pb.Tensor(shape=rows.shape, raw=raw, dtype=pb.DATA_TYPE_FLOAT64)
    return pb.PredictRequest(model=name, tensor=tensor)


def _answered(reply: pb.PredictResponse) -> np.ndarray:
    outputs = {output.name: output for output in reply.outputs}
    found = np.asarray(outputs["probabilities"].doubles.values)
    found = found.reshape(outputs["probabilities"].shape)
    # The classes of both models are 0, 1, ...
    assert np.array_equal(outputs["label"].ints.values, found.argmax(axis=1)), reply
    return found


def open_inference(output: str) -> Wire:
    """The Open Inference Protocol with raw contents, asking for `output` alone."""

    def request(model: str, rows: np.ndarray) -> bytes:
        message = inference.ModelInferRequest(model_name=model)
        message.inputs.add(name="x", datatype="FP64", shape=rows.shape)
        message.outputs.add(name=output)
        message.raw_input_contents.append(np.ascontiguousarray(rows, "<f8").tobytes())
        return message.SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        message = inference.ModelInferResponse.FromString(reply)
        if message.raw_output_contents:
            return np.frombuffer(message.raw_output_contents[0], "<f8")
        return np.asarray(message.outputs[0].contents.fp64_contents)

    return Wire("inference.GRPCInferenceService/ModelInfer", request, probabilities)


def handwritten() -> Wire:
    """The contract in peers/predictor.proto: one row a call."""

    def request(model: str, rows: np.ndarray) -> bytes:
        (row,) = rows
        return predictor.PredictRequest(model=model, features=row).SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        return np.asarray(predictor.PredictReply.FromString(reply).probabilities)

    return Wire("bench.Predictor/Predict", request, probabilities)
