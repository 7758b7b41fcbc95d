"""Status codes: the one table from errors to gRPC's codes, and their `google.rpc` details."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from pushserve_server import errors

logger = logging.getLogger(__name__)

DOMAIN: Final = "pushserve"
INTERNAL_TEXT: Final = "internal error; the server's log says more"
DETAILS_KEY: Final = "grpc-status-details-bin"

_MOST_MESSAGE: Final = 1024
"""Bytes of a message as it is sent, where others than ASCII take nine or twelve."""
_MOST_TEXT: Final = 200
"""Characters of a name or description in the details."""
_MOST_DETAILS: Final = 3072
"""Bytes of all details. Clients refuse trailing metadata over 8 KiB, in which these are base64."""

STATUS_CODES: Final[dict[type[errors.PushserveError], grpc.StatusCode]] = {
    errors.BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotPossibleNow: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SourceRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ModelFailed: grpc.StatusCode.INTERNAL,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.BadAnswer: grpc.StatusCode.FAILED_PRECONDITION,
}


class Failure(NamedTuple):
    """What a caller is told of an error. `details` is a serialized `google.rpc.Status`."""

    code: grpc.StatusCode
    message: str
    details: bytes

    @property
    def number(self) -> int:
        """The code as a number."""
        return int(self.code.value[0])


def status_code(error: errors.PushserveError) -> grpc.StatusCode:
    """Give the canonical code of an error, by the nearest class in the table."""
    for base in type(error).__mro__:
        if base in STATUS_CODES:
            return STATUS_CODES[base]
    return grpc.StatusCode.INTERNAL


def failure(error: Exception, request_id: str = "") -> Failure:
    """Give the status of whatever was raised; what nobody foresaw is only logged."""
    if type(error) is errors.Overloaded:
        known = _overloaded(error.message, error.retry_after)
    elif type(error) is errors.Unauthenticated:
        known = _unauthenticated(error.message, error.code_reason)
    elif isinstance(error, errors.PushserveError):
        known = _failure(error)
    else:
        logger.error("a handler raised (request %s)", request_id or "without an id", exc_info=error)
        known = _internal()
    if not request_id:
        return known
    # A message is its fields: one more detail may follow those that were serialized before.
    more = status_pb2.Status()
    more.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    return known._replace(details=known.details + more.SerializeToString())


@lru_cache(64)
def _overloaded(message: str, retry_after: float) -> Failure:
    """Give the status of a refusal, of which there may be thousands a second."""
    return _failure(errors.Overloaded(message, retry_after))


@lru_cache(16)
def _unauthenticated(message: str, reason: str) -> Failure:
    """Likewise: a wrong token must not cost more than a right one. There are a few texts."""
    return _failure(errors.Unauthenticated(message, reason=reason))


@lru_cache(1)
def _internal() -> Failure:
    """Give the status of an unexpected exception. It says nothing of the exception."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_TEXT)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    return Failure(grpc.StatusCode.INTERNAL, INTERNAL_TEXT, status.SerializeToString())


def _failure(error: errors.PushserveError) -> Failure:
    code, text = status_code(error), cut_message(error.message)
    status = status_pb2.Status(code=code.value[0], message=text)
    free = _MOST_DETAILS
    for detail in _details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        free -= packed.ByteSize()
        if free >= 0:
            status.details.append(packed)
    return Failure(code, text, status.SerializeToString())


def cut_message(text: str) -> str:
    """Cut a text so that it takes a bounded part of the trailing metadata, where it is quoted."""
    text = text[:_MOST_MESSAGE].encode(errors="replace").decode()
    while len(quote(text, safe=_PRINTABLE)) > _MOST_MESSAGE:
        text = text[: len(text) * 3 // 4].rstrip("…") + "…"
    return text


_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def _details(error: errors.PushserveError) -> Iterator[message.Message]:
    yield error_details_pb2.ErrorInfo(reason=error.code_reason, domain=DOMAIN)
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        yield error_details_pb2.RetryInfo(retry_delay=delay)
    if isinstance(error, errors.NotFound):
        yield error_details_pb2.ResourceInfo(
            resource_type=f"pushserve.v1.{error.kind.capitalize()}",
            resource_name=_cut(error.name),
            description=_cut(error.message),
        )
    if isinstance(error, errors.BadInput) and error.violations:
        yield _bad_request(error)


def _bad_request(error: errors.BadInput) -> error_details_pb2.BadRequest:
    """Name the fields, as many as there is space for."""
    request, free = error_details_pb2.BadRequest(), _MOST_DETAILS * 3 // 4
    for violation in error.violations:
        one = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field), description=_cut(violation.description)
        )
        free -= one.ByteSize() + 4
        if free < 0:
            break
        request.field_violations.append(one)
    return request


def _cut(text: str) -> str:
    text = text.encode(errors="replace").decode()
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
