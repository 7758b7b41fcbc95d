"""Errors: what can go wrong when calling a server.

    ClientError
    +-- BadData                the input cannot be sent; nothing was
    +-- BadArgument            an argument is wrong; nothing was sent (a ValueError, too)
    +-- ClientClosed           the client was closed before the call
    +-- WrongEventLoop         an AsyncClient is used on another event loop than its own
    +-- NotPicklable           this client cannot be sent to another process (a TypeError, too)
    +-- DeploymentFailed       a deployment that was waited for has failed
    +-- CallError              the server (or the way to it) answered with an error
        +-- InvalidArgument        the request is malformed; `violations` name fields and columns
        +-- NotFound               a named thing does not exist; `resource` names it
        +-- AlreadyExists          the name is taken
        +-- FailedPrecondition     the thing's state does not allow it
        +-- PermissionDenied       the operator has not listed the source
        +-- ResourceExhausted      too much at a time, or too large; see `retry_after`
        +-- Unavailable            not reachable just now; see `retry_after`
        +-- DeadlineExceeded       the time allowed has passed
        +-- Cancelled              the call was given up
        +-- Unimplemented          this server does not know the call
        +-- ServerFault            a fault of the server itself (any other code)

Each `CallError` holds what the server sent in `grpc-status-details-bin`. All can be pickled, with
their fields and their `__cause__`: what fails in a process of a pool arrives as it was raised.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.known_messages import known_message
from pushserve_client.types import Deployment

_DETAILS_KEY: Final = "grpc-status-details-bin"


class ClientError(Exception):
    """Base of all."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with fields and cause: `Exception`'s own way calls `__init__` with the text."""
        return _restore, (type(self), self.args, self.__dict__, _picklable(self.__cause__))


def _restore(
    kind: type[ClientError],
    args: tuple[Any, ...],
    fields: dict[str, Any],
    cause: BaseException | None,
) -> ClientError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    error.__cause__ = cause
    return error


def _picklable(cause: BaseException | None) -> BaseException | None:
    """Give the cause, or one with its text where it holds what cannot be pickled (a lock)."""
    kind = type(cause)
    try:
        # By the steps of pickle: taken apart, put together again.
        copied = copy.deepcopy(cause)
    except Exception:  # noqa: BLE001 -- whatever a caller's own exception does then
        copied = None
    is_known = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    if cause is None or (copied is not None and is_known):
        return cause
    return RuntimeError(f"{kind.__name__}: {cause}")


class BadData(ClientError):
    """The input cannot be sent to a model; the text names the column and the right form."""


class BadArgument(ClientError, ValueError):
    """An argument of the call is wrong; the text names it."""


class ClientClosed(ClientError):
    """The client was closed before the call; make a new one."""

    def __init__(self) -> None:
        super().__init__("this client is closed; make a new one")


class WrongEventLoop(ClientError, RuntimeError):
    """An AsyncClient belongs to the event loop that ran when it was made, and to no other."""

    def __init__(self) -> None:
        super().__init__(
            "an AsyncClient belongs to the event loop that runs when it is made: make it inside "
            "the async function that uses it"
        )


class NotPicklable(ClientError, TypeError):
    """The client cannot be sent to another process; the text says what to do instead."""


class DeploymentFailed(ClientError):
    """A deployment failed. `reason`, `message` and `fix` say why and what to change."""

    def __init__(self, deployment: Deployment) -> None:
        failure = deployment.failure
        self.deployment = deployment
        self.reason = failure.reason if failure else ""
        self.message = failure.message if failure else deployment.message
        self.fix = failure.fix if failure else ""
        super().__init__(": ".join(part for part in (self.reason, self.message) if part))


@dataclass(frozen=True)
class FieldViolation:
    """One thing that is wrong with one field or column, and what would be right."""

    field: str
    description: str


@dataclass(frozen=True)
class Resource:
    """The thing that an error is about: `kind` is "model", "ref", "version", …."""

    kind: str
    name: str


@dataclass(frozen=True)
class Details:
    """The `google.rpc` details of an error. `retry_after` is in seconds."""

    reason: str = ""
    violations: tuple[FieldViolation, ...] = ()
    resource: Resource | None = None
    retry_after: float | None = None


class CallError(ClientError):
    """An RPC ended with an error; `code` is gRPC's, `reason` pushserve's stable one."""

    def __init__(self, code: grpc.StatusCode, message: str, details: Details) -> None:
        super().__init__(message or code.name)
        self.code = code
        self.message = message
        self.reason = details.reason
        self.violations = details.violations
        self.resource = details.resource
        self.retry_after = details.retry_after


class InvalidArgument(CallError):
    """The request is malformed."""


class NotFound(CallError):
    """A named thing does not exist."""


class AlreadyExists(CallError):
    """The name is taken."""


class FailedPrecondition(CallError):
    """The thing's state does not allow it."""


class PermissionDenied(CallError):
    """The server's operator does not allow it."""


class ResourceExhausted(CallError):
    """Too much at a time, or too large."""


class Unavailable(CallError):
    """Not reachable just now; trying again may help."""


class DeadlineExceeded(CallError):
    """The time allowed has passed."""


class Cancelled(CallError):
    """The call was given up."""


class Unimplemented(CallError):
    """The server does not know the call."""


class ServerFault(CallError):
    """A fault of the server itself."""


_BY_CODE: Final[dict[grpc.StatusCode, type[CallError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class _Call(Protocol):
    """What `grpc.Call` and `grpc.aio.AioRpcError` have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


def error_from_rpc(error: grpc.RpcError) -> CallError:
    """Give the exception for what grpc or grpc.aio raised."""
    call: _Call = error  # every raised RpcError is a Call too
    code = call.code()
    details = details_from_metadata(error.trailing_metadata())
    return _BY_CODE.get(code, ServerFault)(code, call.details() or "", details)


def error_from_stream(error: pb.PredictError) -> CallError:
    """Give the exception for one request of a PredictStream that failed."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    violations = tuple(FieldViolation(v.field, v.description) for v in error.violations)
    details = Details(reason=error.reason, violations=violations)
    return _BY_CODE.get(code, ServerFault)(code, error.message, details)


def details_from_metadata(metadata: object) -> Details:
    """Decode `grpc-status-details-bin` of trailing metadata (any iterable of pairs).

    A value that cannot be decoded counts as none: it must not hide the error itself.
    """
    # Not grpc_status.from_call: it raises where code or text differ, as they do behind
    # some proxies, and does not take what grpc.aio raises.
    for key, value in metadata or ():  # type: ignore[attr-defined]
        if key == _DETAILS_KEY:
            try:
                return _details_from_status(value)
            except DecodeError:
                return Details()
    return Details()


def _details_from_status(data: bytes) -> Details:
    fields: dict[str, Any] = {}
    for detail in known_message("google.rpc.Status").FromString(data).details:
        name = detail.type_url.rpartition("/")[2]
        if name in _READERS:
            field, read = _READERS[name]
            fields.setdefault(field, read(known_message(name).FromString(detail.value)))
    return Details(**fields)


def _violations(bad: Any) -> tuple[FieldViolation, ...]:
    return tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)


def _seconds(retry: Any) -> float:
    return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)


_READERS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "google.rpc.ErrorInfo": ("reason", lambda info: info.reason),
    "google.rpc.BadRequest": ("violations", _violations),
    "google.rpc.ResourceInfo": ("resource", lambda r: Resource(r.resource_type, r.resource_name)),
    "google.rpc.RetryInfo": ("retry_after", _seconds),
}
"""Where in Details each message goes, and how."""
