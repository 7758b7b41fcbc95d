"""Health check: `grpc.health.v1.Health/Check` as a method of a channel."""

from __future__ import annotations

from typing import Any

from pushserve_client.known_messages import known_message

_PATH = "/grpc.health.v1.Health/Check"


def health_check(channel: Any) -> Any:
    """Make the method: a service's name in ("" is the server), whether it serves out."""
    return channel.unary_unary(_PATH, request_serializer=_request, response_deserializer=_serves)


def _request(service: str) -> bytes:
    data: bytes = known_message("grpc.health.v1.HealthCheckRequest")(
        service=service
    ).SerializeToString()
    return data


def _serves(data: bytes) -> bool:
    reply = known_message("grpc.health.v1.HealthCheckResponse").FromString(data)
    return bool(reply.status == reply.SERVING)
