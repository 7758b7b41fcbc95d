"""Errors: what can go wrong, as the caller is told.

    PushserveError
    +-- BadInput               a request is malformed; names fields
    +-- NotFound               a named thing does not exist; names the resource
    +-- AlreadyExists          the name is taken
    +-- NotPossibleNow         the thing's state does not allow it
    +-- SourceRefused          the operator has not listed the source, or not for this
    +-- Unauthenticated        the call has no token, or one that lets nobody in
    +-- NotAllowed             its token is not for this method or model
    +-- Overloaded             more arrived than can be done; names when to try again
    +-- Unavailable            a worker or the remote cannot be reached just now
    +-- DeadlineExceeded       the caller's deadline passed
    +-- ModelFailed            the model raised on input that its signature allows
    +-- Unimplemented          there is no such method
    +-- BadAnswer              the model gave an answer that cannot be sent

None of them knows gRPC or Flask: `api.status` maps each class to a status code.
`DeploymentFailed` is apart: it ends a deployment, not a call.

A message is a phrase: it begins in lower case, as it follows a reason or a name, and has no full
stop. A fix is a sentence, or several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with one field or column, and what would be right."""

    field: str
    description: str


class PushserveError(Exception):
    """Base of all. `reason` is stable and in capitals; the text is for people."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code_reason = reason or self.reason


class BadInput(PushserveError):
    """A request is malformed."""

    reason = "BAD_INPUT"

    def __init__(
        self, message: str, violations: Sequence[Violation] = (), *, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.violations = tuple(violations)


class NotFound(PushserveError):
    """A named thing does not exist. `kind` is "model", "ref", "version", "deployment"."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, message: str) -> None:
        super().__init__(message, reason=f"{kind.upper()}_NOT_FOUND")
        self.kind = kind
        self.name = name


class AlreadyExists(PushserveError):
    """The name is taken."""

    reason = "ALREADY_EXISTS"


class NotPossibleNow(PushserveError):
    """The thing's state does not allow it."""

    reason = "FAILED_PRECONDITION"


class SourceRefused(PushserveError):
    """The operator has not listed the source."""

    reason = "SOURCE_NOT_ALLOWED"


class Unauthenticated(PushserveError):
    """The call has no token, or one that lets nobody in."""

    reason = "TOKEN_MISSING"


class NotAllowed(PushserveError):
    """The call's token is not for this method, or not for this model."""

    reason = "SCOPE_MISSING"


class Overloaded(PushserveError):
    """More arrived than can be done. `retry_after` is in seconds."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(PushserveError):
    """Something cannot be reached just now. `retry_after` is in seconds."""

    reason = "UNAVAILABLE"

    def __init__(
        self, message: str, retry_after: float = 0.5, *, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class RegistryUnavailable(Unavailable):
    """The registry's database cannot be used just now. What is loaded goes on answering."""

    reason = "REGISTRY_UNAVAILABLE"


class DeadlineExceeded(PushserveError):
    """The caller's deadline passed before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class ModelFailed(PushserveError):
    """The model raised on input that its signature allows."""

    reason = "MODEL_FAILED"


class Unimplemented(PushserveError):
    """There is no such method."""

    reason = "UNIMPLEMENTED"


class BadAnswer(PushserveError):
    """The model gave an answer that cannot be sent: too large, or nothing that a message holds."""

    reason = "ANSWER_INVALID"


class DeploymentFailed(Exception):
    """Ends a deployment: a stable reason, what is wrong, and what the user must change.

    Texts that a repository may have made long are cut at 8,000 characters.
    """

    def __init__(self, reason: str, message: str, fix: str) -> None:
        self.reason = reason
        self.message = _cut(message)
        self.fix = _cut(fix)
        super().__init__(f"{reason}: {self.message}")


def _cut(text: str, limit: int = 8000) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
