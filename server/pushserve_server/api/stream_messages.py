"""Stream messages: what PredictStream answers, each response or error in its own envelope."""

from __future__ import annotations

from typing import Final

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.status import failure
from pushserve_server.api.wire_format import length_delimited_tag, varint
from pushserve_server.errors import BadInput, PushserveError

_RESPONSE: Final = length_delimited_tag(pb.PredictStreamResponse, "response")


def stream_response(data: bytes) -> bytes:
    """Enclose a serialized PredictResponse."""
    return _RESPONSE + varint(len(data)) + data


def stream_error(error: Exception) -> bytes:
    """Say why one request failed."""
    code, status = failure(error)
    violations = error.violations if isinstance(error, BadInput) else ()
    said = pb.PredictError(
        code=code.value[0],
        message=status.message,
        reason=error.code_reason if isinstance(error, PushserveError) else "INTERNAL",
        violations=[
            pb.FieldViolation(field=v.field, description=v.description) for v in violations
        ],
    )
    return pb.PredictStreamResponse(error=said).SerializeToString()
