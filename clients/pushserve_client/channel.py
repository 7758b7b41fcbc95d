"""Channel to a server: sizes, keep-alive, retries."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Final

from pushserve_client.errors import BadArgument

SERVICE: Final = "pushserve.v1.ModelService"
MAX_MESSAGE: Final = 64 * 1024**2
"""Largest message either way, in bytes."""

_IDEMPOTENT: Final = (
    # Register as well: the same ref at the same commit gives the deployment that exists.
    "Register",
    "List",
    "Predict",
    "Get",
    "GetDeployment",
    "ListDeployments",
)


def _check_target(target: str) -> None:
    """Insist that `target` is an address.

    Raises:
        BadArgument: it is a URL, or no text; the text says what to give.
    """
    if not isinstance(target, str) or not target:
        raise BadArgument(f"target: expected text, host:port, got {target!r}")
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https", "grpc", "grpcs"):
        address = rest.partition("/")[0]
        raise BadArgument(
            f"target: {target!r} is a URL, and gRPC takes an address: give {address!r}"
            + ("" if ":" in address else " with its port")
        )


def channel_options(target: str, *, retry: bool) -> tuple[tuple[str, Any], ...]:
    """Give grpc's channel options for `target` ("host:port").

    Raises:
        BadArgument: it is no address.
    """
    _check_target(target)
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        # A grpc server takes pings more often than every 5 minutes for an attack.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # After a restart of the server, the first try must not wait for up to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.enable_retries", int(retry)),
    ]
    if retry:
        options.append(("grpc.service_config", _retry_config()))
    if is_local(target):
        # http_proxy is for the outside; no proxy leads back here.
        options.append(("grpc.enable_http_proxy", 0))
    return tuple(options)


def is_local(target: str) -> bool:
    """Whether what is sent to `target` does not leave this machine."""
    address = target[len("ipv4:") :] if target.startswith(("ipv4:", "ipv6:")) else target
    host = address.rpartition(":")[0]
    return target.startswith("unix") or is_loopback(host[1:-1] if host[:1] == "[" else host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_config() -> str:
    """Four tries at what is safe to repeat, about a second in all, when UNAVAILABLE."""
    return json.dumps(
        {
            "methodConfig": [
                {
                    "name": [{"service": SERVICE, "method": name} for name in _IDEMPOTENT],
                    "retryPolicy": {
                        "maxAttempts": 4,
                        "initialBackoff": "0.1s",
                        "maxBackoff": "1s",
                        "backoffMultiplier": 3,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ],
            # When most calls fail, retries stop: they would only add to the load.
            "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
        }
    )
