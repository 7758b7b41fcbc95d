"""Registrar: the one connection to the server that all of the webhook's threads share."""

from __future__ import annotations

import threading
from typing import Final

from pushserve_client import Client, Deployment

DEADLINE: Final = 8.0
"""For a Register with its retries, in seconds: GitHub waits 10 for the answer."""


class Registrar:
    """Calls Register on the server at `target`. Connects at the first call.

    Not before: a process that forks after gRPC objects exist is not supported, and some
    WSGI servers fork once the app is made.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._client: Client | None = None

    def register(self, source: str, ref: str) -> Deployment:
        """Ask the server to look at a ref. Raises `pushserve_client.errors`."""
        return self._connected().register(source, ref=ref, timeout=DEADLINE)

    def is_ready(self) -> bool:
        """Whether the server answers and says that it serves."""
        return self._connected().is_serving()

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client(self._target)
            return self._client

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
