"""Registrar: the one connection to the server that all of the webhook's threads share."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from pushserve_client import Client, Deployment
from pushserve_client.errors import BadArgument
from pushserve_webhook.settings import ConfigError, WebhookSettings

logger = logging.getLogger(__name__)

DEADLINE: Final = 8.0
"""For a Register with its retries, in seconds: GitHub waits 10 for the answer."""


class Registrar:
    """Calls Register on the server that the settings name. Connects at the first call.

    Not before: a process that forks after gRPC objects exist is not supported, and some
    WSGI servers fork once the app is made.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._token: str | None = None

    def check(self) -> None:
        """Insist that token and certificates can be read, before there is an event.

        Raises:
            ConfigError: one of them is no good; says which.
        """
        try:
            self._connect(self._read_token()).close()
        except (BadArgument, OSError) as error:
            raise ConfigError(f"the webhook cannot call the server: {_words(error)}") from None

    def register(self, source: str, ref: str) -> Deployment:
        """Ask the server to look at a ref. Raises `pushserve_client.errors`."""
        return self._connected().register(source, ref=ref, timeout=DEADLINE)

    def is_ready(self) -> bool:
        """Whether the server answers and says that it serves."""
        return self._connected().is_serving()

    def _connected(self) -> Client:
        """Give the connection: another one where the token file holds another token.

        Calls under way on the one of before end by themselves; then it goes.
        """
        with self._lock:
            try:
                token = self._read_token()
                if self._client is None or token != self._token:
                    self._client, self._token = self._connect(token), token
            except (BadArgument, OSError) as error:
                if self._client is None:
                    raise
                logger.error("%s; the token of before stays in use", _words(error))  # noqa: TRY400
            return self._client

    def _connect(self, token: str | None) -> Client:
        settings = self._settings
        return Client(
            settings.webhook_server,
            token=token,
            tls=settings.webhook_server_tls,
            ca=settings.webhook_server_ca or None,
            certificate=settings.webhook_server_certificate or None,
            key=settings.webhook_server_key or None,
        )

    def _read_token(self) -> str | None:
        if self._settings.webhook_token_file:
            return Path(self._settings.webhook_token_file).read_text(errors="replace").strip()
        return self._settings.webhook_token.get_secret_value() or None

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"webhook_token_file: {error.filename} cannot be read: {error.strerror}"
    return str(error)
