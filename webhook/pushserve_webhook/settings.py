"""Settings of the webhook: environment over the server's TOML file over defaults.

The names are the server's: `PUSHSERVE_<NAME>` in the environment, `<name>` in the file
that `PUSHSERVE_CONFIG` names, whose other keys are the server's business. The webhook
runs where the server may not be installed, so it reads its few settings by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pushserve_client.channel import is_loopback
from pushserve_client.kubernetes_variables import is_kubernetes_variable


class ConfigError(Exception):
    """The configuration is wrong; the text names every mistake and the right form."""


class WebhookSettings(BaseSettings):
    """What the webhook needs to know."""

    model_config = SettingsConfigDict(
        env_prefix="PUSHSERVE_", extra="ignore", frozen=True, validate_default=True
    )

    webhook_listen: str = "127.0.0.1:8080"
    """Address of the webhook; port 0 takes a free one."""
    webhook_secret: SecretStr = SecretStr("")
    """The secret that GitHub signs events with; several, one a line, while one replaces another."""
    webhook_secret_file: str = ""
    """A file with them instead; what changes in it counts at the next event."""
    insecure_webhook_without_secret: bool = False
    """Accept events that nobody signed."""
    webhook_server: str = "127.0.0.1:50051"
    """Where the webhook calls Register."""
    webhook_server_tls: bool = False
    """Call it over TLS, and trust this machine's certificates."""
    webhook_server_ca: str = ""
    """A file with the certificates to trust instead (PEM): TLS, too."""
    webhook_server_certificate: str = ""
    """A file with the certificate that the webhook shows the server (PEM)."""
    webhook_server_key: str = ""
    """A file with that certificate's private key (PEM)."""
    webhook_token: SecretStr = SecretStr("")
    """The token that the webhook calls the server by, with scope deploy."""
    webhook_token_file: str = ""
    """A file with that token instead; a new one in it counts at the next event."""
    insecure_listen_off_loopback: bool = False
    """Listen where other machines can reach it, without TLS."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment over the file that `PUSHSERVE_CONFIG` names."""
        path = os.environ.get("PUSHSERVE_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)

    @model_validator(mode="after")
    def _check(self) -> Self:
        host, _ = split_address(self.webhook_listen)
        split_address(self.webhook_server)
        if not (is_loopback(host) or self.insecure_listen_off_loopback):
            raise ValueError(
                f"webhook_listen: {host} can be reached by other machines, and TLS is not set "
                "up; listen on 127.0.0.1 behind a proxy that has it, or set "
                "insecure_listen_off_loopback = true"
            )
        secret = self.webhook_secret.get_secret_value().strip()
        if secret and self.webhook_secret_file:
            raise ValueError("webhook_secret, webhook_secret_file: give one of both")
        if not (secret or self.webhook_secret_file or self.insecure_webhook_without_secret):
            raise ValueError(
                "webhook_secret: set PUSHSERVE_WEBHOOK_SECRET (or _FILE) to the secret of the "
                "webhook on GitHub, or insecure_webhook_without_secret = true to accept events "
                "that nobody signed"
            )
        if self.webhook_token.get_secret_value() and self.webhook_token_file:
            raise ValueError("webhook_token, webhook_token_file: give one of both")
        return self


def split_address(value: str) -> tuple[str, int]:
    """Split "host:port" ("[::1]:0" for IPv6).

    Raises:
        ValueError: it is not of that form.
    """
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'an address is "host:port", such as "127.0.0.1:8080"; this is {value!r}')
    return host.removeprefix("[").removesuffix("]"), int(port)


def load_settings() -> WebhookSettings:
    """Read and check the settings.

    Raises:
        ConfigError: with one line for each mistake.
    """
    path = os.environ.get("PUSHSERVE_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"PUSHSERVE_CONFIG names {path}, which is not a file")
    known = {f"PUSHSERVE_{name.upper()}" for name in WebhookSettings.model_fields}
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.startswith("PUSHSERVE_WEBHOOK_")
        and name not in known
        and not is_kubernetes_variable(name, value)
    )
    if unknown:
        raise ConfigError("\n".join(_unknown(name, known) for name in unknown))
    try:
        return WebhookSettings()
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None


def _unknown(name: str, known: Iterable[str]) -> str:
    text = f"{name}: no such setting in the environment"
    close = get_close_matches(name, known, n=1, cutoff=0.85)
    return f"{text}. Did you mean {close[0]!r}?" if close else text


def _explain(error: ValidationError) -> str:
    lines = []
    # Without the input: it may be the secret.
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {text}" if where else text)
    return "\n".join(lines)
