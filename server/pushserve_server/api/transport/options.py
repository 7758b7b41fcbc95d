"""Channel settings of the server, each with its reason. Times are in milliseconds."""

from __future__ import annotations

from typing import Final

from pushserve_server.settings import Settings

_PENDING: Final = 4096
"""Calls that the core holds until the transport takes them. It cancels more at random, without a
reason; fewer than 1,000, its default, are passed by a burst of honest callers."""

_FIXED: Final = (
    # The frontends of one server share the port; a lock file keeps another server off it.
    ("grpc.so_reuseport", 1),
    ("grpc.server.max_pending_requests", _PENDING),
    ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING),
    # Headers: enough for tokens and traces. Floods of them took 3 GB of a frontend.
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 16_384),
    # A peer that vanished without a word is noticed after 20 s + 1 s, on an idle connection after
    # 5 minutes. (`keepalive_timeout_ms` has no effect in this core, `ping_timeout_ms` has.)
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    # Clients may ping every 5 s, also on connections without calls: proxies and load balancers
    # drop idle ones after a minute. Those that ping much more often are sent away.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 3),
    # A connection has so long for its first bytes.
    ("grpc.server_handshake_timeout_ms", 20_000),
)

_GZIP_LEVEL: Final = 1
"""`GRPC_COMPRESS_LEVEL_LOW`: the core picks what the peer accepts, or nothing."""


def channel_options(settings: Settings) -> list[tuple[str, int]]:
    """Give the arguments of a server, for either transport."""
    options = [
        *_FIXED,
        ("grpc.max_receive_message_length", settings.max_request),
        ("grpc.max_send_message_length", -1),  # the signature bounds what is sent
        # Without a limit, 4 connections of rapid resets took 2 GB in 20 s; with it, 80 MB in all.
        ("grpc.max_concurrent_streams", settings.max_streams),
        # It counts calls until their last event was polled, and refuses new ones meanwhile: 64
        # honest callers on one connection got REFUSED_STREAM.
        ("grpc.http.overload_protection", 0),
    ]
    if settings.max_connection_age:
        options += [
            # So that clients that balance by DNS come to new replicas; calls have time to end.
            ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
            ("grpc.max_connection_age_grace_ms", int(settings.drain_timeout * 1000)),
        ]
    if settings.compress_replies:
        options.append(("grpc.default_compression_level", _GZIP_LEVEL))
    return options
