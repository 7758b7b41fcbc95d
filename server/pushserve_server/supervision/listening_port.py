"""Listening port: the one that frontends share; the supervisor holds it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from pushserve_server.settings import ConfigError, split_address


@contextlib.contextmanager
def reserve_port(listen: str) -> Iterator[int]:
    """Hold the port, bound but not listening, for the frontends that share it.

    A first try without SO_REUSEPORT tells whether anybody has it.
    """
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(probe, host, port)
        holder = stack.enter_context(socket.socket(family))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(holder, host, port)
        yield holder.getsockname()[1]


def _bind(sock: socket.socket, host: str, port: int) -> None:
    try:
        sock.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "stop what uses the port, or set another one (PUSHSERVE_LISTEN, --listen)"
        ) from None
