"""Notifications: changes that other servers made in a shared registry, heard at once.

PostgreSQL does, by NOTIFY. With SQLite every process is of this server, and wakes the others.
What is not heard, because the connection is lost or slow, costs a poll.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from pushserve_server.registry.database import CHANNEL, postgres_url

logger = logging.getLogger(__name__)

_LOOK_FOR_STOP: Final = 0.5
_AGAIN: Final = 5.0
_CONNECT_TIMEOUT: Final = 5


class ChangeListener:
    """Calls `heard` for changes, on a thread and a connection of its own.

    `hears` is told whether every change is heard from now on.
    """

    def __init__(
        self,
        url: str,
        heard: Callable[[], None],
        hears: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._url = postgres_url(url)
        self._heard = heard
        self._hears = hears
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-changes", daemon=True)

    def start(self) -> None:
        """Begin; returns at once. With SQLite there is nothing to listen to, and all is heard."""
        self._hears(self._url is None)  # a server that was killed may have left another word
        if self._url is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop listening, and return when the thread has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_CONNECT_TIMEOUT + _LOOK_FOR_STOP)

    def _run(self) -> None:
        import psycopg  # noqa: PLC0415 (servers on SQLite do without it)

        while not self._stopped.is_set():
            try:
                self._listen()
            except (psycopg.Error, OSError):
                # The error's text may show the address; that it is down, others say as well.
                logger.warning(
                    "other servers' changes are noticed by polling until the connection is back"
                )
                self._stopped.wait(_AGAIN)

    def _listen(self) -> None:
        import psycopg  # noqa: PLC0415 (as above)

        assert self._url is not None  # noqa: S101 (else nothing was started)
        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._hears(True)
            try:
                self._heard()  # what came before is not told again
                while not self._stopped.is_set():
                    for _ in connection.notifies(timeout=_LOOK_FOR_STOP, stop_after=1):
                        self._heard()
            finally:
                self._hears(False)
