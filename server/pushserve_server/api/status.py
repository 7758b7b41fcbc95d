"""Status codes: the one table from errors to gRPC's codes, and their `google.rpc` details."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from pushserve_server import errors

logger = logging.getLogger(__name__)

DOMAIN: Final = "pushserve"
INTERNAL_TEXT: Final = "internal error; the server's log says more"
DETAILS_KEY: Final = "grpc-status-details-bin"

STATUS_CODES: Final[dict[type[errors.PushserveError], grpc.StatusCode]] = {
    errors.BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotPossibleNow: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SourceRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ModelFailed: grpc.StatusCode.INTERNAL,
}


def status_code(error: errors.PushserveError) -> grpc.StatusCode:
    """Give the canonical code of an error, by the nearest class in the table."""
    for base in type(error).__mro__:
        if base in STATUS_CODES:
            return STATUS_CODES[base]
    return grpc.StatusCode.INTERNAL


def status_of(error: errors.PushserveError) -> status_pb2.Status:
    """Build the whole status: code, text and details."""
    code = status_code(error)
    status = status_pb2.Status(code=code.value[0], message=error.message)
    for detail in _details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def failure(error: Exception) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Give the code and status of whatever was raised; what nobody foresaw is only logged."""
    if type(error) is errors.Overloaded:
        return grpc.StatusCode.RESOURCE_EXHAUSTED, _overloaded(error.message, error.retry_after)
    if isinstance(error, errors.PushserveError):
        return status_code(error), status_of(error)
    logger.error("a handler raised", exc_info=error)
    return grpc.StatusCode.INTERNAL, internal_status()


@lru_cache(64)
def _overloaded(message: str, retry_after: float) -> status_pb2.Status:
    """Give the status of a refusal, of which there may be thousands a second."""
    return status_of(errors.Overloaded(message, retry_after))


def internal_status() -> status_pb2.Status:
    """Build the status of an unexpected exception. It says nothing of the exception."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_TEXT)
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    status.details.append(packed)
    return status


def _details(error: errors.PushserveError) -> list[message.Message]:
    details: list[message.Message] = [
        error_details_pb2.ErrorInfo(reason=error.code_reason, domain=DOMAIN)
    ]
    if isinstance(error, errors.BadInput) and error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.NotFound):
        details.append(
            error_details_pb2.ResourceInfo(
                resource_type=f"pushserve.v1.{error.kind.capitalize()}",
                resource_name=error.name,
                description=error.message,
            )
        )
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details
