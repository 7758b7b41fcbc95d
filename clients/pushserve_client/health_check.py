"""Health check: `grpc.health.v1.Health/Check` as a method of a channel."""

from __future__ import annotations

from typing import Any

from pushserve_client.known_messages import known_message
from pushserve_client.requests import message_of

_PATH = "/grpc.health.v1.Health/Check"
_REQUEST = "grpc.health.v1.HealthCheckRequest"


def health_check(channel: Any) -> Any:
    """Make the method: a request in, whether what it names serves out."""
    return channel.unary_unary(
        _PATH,
        request_serializer=known_message(_REQUEST).SerializeToString,
        response_deserializer=_serves,
    )


def health_request(service: str) -> Any:
    """Build the request for a service's health; "" is the server's.

    Raises:
        BadArgument: it is no text.
    """
    return message_of(known_message(_REQUEST), service=service)


def _serves(data: bytes) -> bool:
    reply = known_message("grpc.health.v1.HealthCheckResponse").FromString(data)
    return bool(reply.status == reply.SERVING)
