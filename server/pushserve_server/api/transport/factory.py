"""Transports by name, and what all of them can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from pushserve_server.api.transport.bounds import Bounds
from pushserve_server.api.transport.call import Listener
from pushserve_server.api.transport.options import channel_options
from pushserve_server.api.transport.server_credentials import server_credentials
from pushserve_server.settings import Settings


class Transport(Protocol):
    """A server on one port. Lives on one event loop."""

    def listen(self, address: str) -> int:
        """Bind an address; give its port.

        Raises:
            OSError: it cannot be had.
        """

    async def start(self) -> None:
        """Begin to take calls."""

    async def stop(self, grace: float) -> None:
        """Take no more calls; let those under way end in `grace` seconds, then end them."""

    def close(self) -> None:
        """Let go of everything. Nobody answers calls any more."""


def make_transport(
    name: Literal["core", "aio"],
    listener: Listener,
    settings: Settings,
    beat: Callable[[], object] = lambda: None,
) -> Transport:
    """Make a transport that hands its calls to `listener`. Nothing listens yet.

    `beat` is called several times a second by what takes the calls, as long as it goes on.

    Raises:
        ConfigError: the certificate files of the settings are no good.
    """
    bounds = Bounds(
        max_request=settings.max_request,
        memory=settings.slow_peer_memory,
        receive_timeout=settings.receive_timeout,
        send_timeout=settings.send_timeout,
    )
    options, credentials = channel_options(settings), server_credentials(settings)
    if name == "aio":
        from pushserve_server.api.transport.aio_server import AioServer  # noqa: PLC0415

        return AioServer(listener, options, bounds, beat, credentials)
    # The module that may not be importable with another grpcio.
    from pushserve_server.api.transport.core_server import CoreServer  # noqa: PLC0415

    return CoreServer(listener, options, bounds, beat, credentials)
