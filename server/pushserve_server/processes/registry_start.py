"""Registry start: opens the registry's database, and waits for one that is not there yet.

A server often starts beside its PostgreSQL, and may be the first. What is wrong with a file of this
machine, waiting does not mend.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from pushserve_server.errors import RegistryUnavailable
from pushserve_server.registry import Registry
from pushserve_server.settings import ConfigError, Settings, without_password

logger = logging.getLogger(__name__)

_PAUSE: Final = 1.0
_REMIND: Final = 60.0
"""Seconds after which the same trouble is said again."""


def open_registry(settings: Settings, stopped: threading.Event) -> Registry | None:
    """Open it, waiting for PostgreSQL as long as it takes; None where `stopped` comes first.

    Raises:
        ConfigError: the URL has another form, or SQLite cannot use the file.
    """
    shown, said, said_at = without_password(settings.database), "", 0.0
    while not stopped.is_set():
        try:
            return Registry.open(settings.database)
        except ValueError as error:
            raise ConfigError(f"database_url: {error}") from None
        except RegistryUnavailable as error:
            why = f"{error.message} ({shown})"
            if settings.database.startswith("sqlite:"):
                raise ConfigError(why) from None
            now = time.monotonic()
            if why != said or now - said_at >= _REMIND:
                logger.warning("%s; waiting for it", why)
                said, said_at = why, now
        stopped.wait(_PAUSE)
    return None
