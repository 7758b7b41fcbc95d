"""Replies of the webhook: JSON, also for every error."""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from flask import Response, jsonify

from pushserve_client import Deployment
from pushserve_client import errors as calls

_RETRY_AFTER: Final = 5.0
"""Where the server named no time, in seconds."""

_STATUS: Final[tuple[tuple[type[calls.CallError], int], ...]] = (
    (calls.Unavailable, 503),
    (calls.DeadlineExceeded, 503),
    (calls.ResourceExhausted, 503),
    (calls.PermissionDenied, 403),
    (calls.InvalidArgument, 422),
    (calls.NotFound, 422),
    (calls.AlreadyExists, 409),
    (calls.FailedPrecondition, 409),
)
"""What is in no line is the server's fault: 502."""


def accepted(deployment: Deployment) -> tuple[Response, int]:
    """Answer 202 with the deployment, which continues by itself."""
    body = {
        "deployment": deployment.name,
        "source": deployment.source,
        "ref": deployment.ref,
        "model": deployment.model or None,
        "state": str(deployment.state),
    }
    return jsonify(body), 202


def ignored(reason: str) -> tuple[Response, int]:
    """Answer 202: the event is understood, and there is nothing to do."""
    return jsonify(ignored=reason), 202


def refused(status: int, reason: str, message: str, **more: Any) -> tuple[Response, int]:
    """Answer an error: a stable reason, and a text that says what would be right."""
    return jsonify(error={"reason": reason, "message": message, **more}), status


def call_failed(error: calls.CallError) -> tuple[Response, int]:
    """Answer what the server said to Register."""
    if is_ours(error):
        message = "the model server does not let this webhook in; its operator has to look"
        return refused(502, "TOKEN_REFUSED", message)
    status = next((s for kind, s in _STATUS if isinstance(error, kind)), 502)
    fields = {v.field: v.description for v in error.violations}
    more = {"fields": fields} if fields else {}
    reason = error.reason or error.code.name
    message = error.message
    if status == 503 and not error.reason:
        # gRPC's own text names addresses and sockets, which the sender need not know.
        message = "the model server cannot be reached just now; deliver the event again later"
    reply, _ = refused(status, reason, message, **more)
    if status == 503:
        seconds = _RETRY_AFTER if error.retry_after is None else error.retry_after
        reply.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return reply, status


def is_ours(error: calls.CallError) -> bool:
    """Say whether it is the webhook's own token that the server refuses, not the event."""
    return error.code.name == "UNAUTHENTICATED" or error.reason in (
        "SCOPE_MISSING",
        "MODEL_NOT_ALLOWED",
    )


def without_userinfo(url: str) -> str:
    """Give a URL without the user and password that it may carry."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
