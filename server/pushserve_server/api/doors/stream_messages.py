"""Stream messages: what PredictStream answers, each response or error in its own envelope."""

from __future__ import annotations

from typing import Final

from google.rpc import error_details_pb2, status_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.varint import varint
from pushserve_server.api.doors.wire_format import length_delimited_tag
from pushserve_server.api.status import Failure
from pushserve_server.api.transport.call import Envelope

_RESPONSE: Final = length_delimited_tag(pb.PredictStreamResponse, "response")


def stream_response(data: bytes) -> bytes:
    """Enclose a serialized PredictResponse."""
    return _RESPONSE + varint(len(data)) + data


def stream_error(failed: Failure) -> bytes:
    """Say why one request failed, with all details that a call would have."""
    status = status_pb2.Status.FromString(failed.details)
    said = pb.PredictError(code=failed.number, message=failed.message, details=status.details)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            said.reason = info.reason
        elif detail.Unpack(request):
            for violation in request.field_violations:
                said.violations.add(field=violation.field, description=violation.description)
    return pb.PredictStreamResponse(error=said).SerializeToString()


ENVELOPE: Final = Envelope(stream_response, stream_error)
