"""What each server is asked, and how its answer is read: one row, probabilities of each class."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
    """A protocol: `request(model, row)` and `probabilities(reply)` convert to and from bytes."""

    method: str
    request: Callable[[str, np.ndarray], bytes]
    probabilities: Callable[[bytes], np.ndarray]

    def ask(self, address: str, model: str) -> bytes:
        """Call once, insist on scikit-learn's own answer, and give the reply's bytes."""
        fitted, rows = models.MODELS[model]()
        # A local pool: another channel to the address may be in its back-off.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            reply = channel.unary_unary(f"/{self.method}")(self.request(model, rows[0]), timeout=20)
        got, expected = self.probabilities(reply), fitted.predict_proba(rows[:1])[0]
        assert np.allclose(got, expected, rtol=0, atol=1e-6), (model, got, expected)
        return reply


def pushserve(engine: str) -> Wire:
    """`Predict` of the model that runs on `engine`; labels come along."""

    def request(model: str, row: np.ndarray) -> bytes:
        raw = np.ascontiguousarray(row, "<f8").tobytes()
        tensor = pb.Tensor(shape=[1, len(row)], raw=raw, dtype=pb.DATA_TYPE_FLOAT64)
        return pb.PredictRequest(model=f"{model}-{engine}", tensor=tensor).SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        outputs = {output.name: output for output in pb.PredictResponse.FromString(reply).outputs}
        return np.asarray(outputs["probabilities"].doubles.values)

    return Wire("pushserve.v1.ModelService/Predict", request, probabilities)


def open_inference(output: str) -> Wire:
    """The Open Inference Protocol with raw contents, asking for `output` alone."""

    def request(model: str, row: np.ndarray) -> bytes:
        message = inference.ModelInferRequest(model_name=model)
        message.inputs.add(name="x", datatype="FP64", shape=[1, len(row)])
        message.outputs.add(name=output)
        message.raw_input_contents.append(np.ascontiguousarray(row, "<f8").tobytes())
        return message.SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        message = inference.ModelInferResponse.FromString(reply)
        if message.raw_output_contents:
            return np.frombuffer(message.raw_output_contents[0], "<f8")
        return np.asarray(message.outputs[0].contents.fp64_contents)

    return Wire("inference.GRPCInferenceService/ModelInfer", request, probabilities)


def handwritten() -> Wire:
    """The contract in peers/predictor.proto."""

    def request(model: str, row: np.ndarray) -> bytes:
        return predictor.PredictRequest(model=model, features=row).SerializeToString()

    def probabilities(reply: bytes) -> np.ndarray:
        return np.asarray(predictor.PredictReply.FromString(reply).probabilities)

    return Wire("bench.Predictor/Predict", request, probabilities)
