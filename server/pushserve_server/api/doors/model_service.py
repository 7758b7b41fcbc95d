"""Door of `pushserve.v1.ModelService`: Predict, and the requests of PredictStream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.doors.predict_inputs import request_from_proto
from pushserve_server.api.doors.predict_outputs import make_encoder
from pushserve_server.api.doors.task import Target
from pushserve_server.api.servicer_methods import read
from pushserve_server.api.transport.call import Call
from pushserve_server.serve.codec.decoding import DecodedRequest, Decoder

_LARGE: Final = 64 * 1024
"""Bytes from which a table or rows are decoded on a thread: they take 10 ms a megabyte."""


class ModelServiceTask:
    """A PredictRequest."""

    __slots__ = ("_message", "_size")

    make_encoder = staticmethod(make_encoder)

    def __init__(self, message: pb.PredictRequest, size: int) -> None:
        self._message = message
        self._size = size

    @property
    def target(self) -> Target:
        """Whom it is for."""
        message = self._message
        if message.WhichOneof("target") in (None, "ref"):
            return Target(message.model, message.ref)
        if message.HasField("version"):
            return Target(message.model, number=message.version)
        return Target(message.model, commit=message.commit)

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the wanted outputs; none means the defaults."""
        return self._message.outputs

    @property
    def takes_long(self) -> bool:
        """Whether decoding it would hold up others, as objects and texts do."""
        return self._size > _LARGE and not self._message.HasField("tensor")

    def decode(self, decoder: Decoder) -> DecodedRequest:
        """Read the rows.

        Raises:
            BadInput: they do not fit the signature.
        """
        request = request_from_proto(self._message, decoder)
        request.size = self._size
        return request


def decode_predict(call: Call) -> ModelServiceTask:
    """Read a call of Predict.

    Raises:
        BadInput: it is no such message.
    """
    return ModelServiceTask(read(call.body, pb.PredictRequest.FromString), len(call.body))


def decode_stream_item(call: Call) -> ModelServiceTask:
    """Read one request of PredictStream.

    Raises:
        BadInput: it is no such message.
    """
    message = read(call.body, pb.PredictStreamRequest.FromString)
    return ModelServiceTask(message.request, len(call.body))
