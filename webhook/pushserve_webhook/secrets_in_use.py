"""Secrets in use: by which events may be signed, several while one takes another's place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from pushserve_webhook.settings import ConfigError, WebhookSettings

logger = logging.getLogger(__name__)

_MOST: Final = 64 * 1024


class SecretsInUse:
    """Those of the settings: one a line, of `webhook_secret` or the file. None: all are accepted.

    What changes in the file counts at the next event.

    Raises:
        ConfigError: the file cannot be read, or there is no secret in it.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._path = Path(settings.webhook_secret_file) if settings.webhook_secret_file else None
        self._secrets = _lines(settings.webhook_secret.get_secret_value())
        if self._path is not None:
            try:
                self._secrets = _read(self._path)
            except (OSError, ValueError) as error:
                raise ConfigError(_words(self._path, error)) from None

    def now(self) -> tuple[str, ...]:
        """Give them."""
        if self._path is not None:
            try:
                self._secrets = _read(self._path)
            except (OSError, ValueError) as error:
                logger.error(  # noqa: TRY400 (no trace helps)
                    "%s; the secrets of before stay in use", _words(self._path, error)
                )
        return self._secrets


def _read(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        found = _lines(file.read(_MOST).decode())
    if not found:
        raise ValueError
    return found


def _lines(text: str) -> tuple[str, ...]:
    """Give the lines that hold something, without the end that editors and `echo` put there."""
    return tuple(line for line in text.splitlines() if line.strip())


def _words(path: Path, error: Exception) -> str:
    why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "holds no secret"
    return f"webhook_secret_file: {path} {why}"
