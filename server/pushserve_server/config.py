"""Configuration: environment over one TOML file over defaults, checked once at start.

Every setting is `PUSHSERVE_<NAME>` in the environment and `<name>` in the file that
`PUSHSERVE_CONFIG` (or `--config`) names. `DATABASE_URL` is read as well.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args, get_type_hints

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pushserve_client.kubernetes_variables import is_kubernetes_variable
from pushserve_client.variables import CLIENT_VARIABLES
from pushserve_runtime.closest_name import closest_name, did_you_mean
from pushserve_server.settings import (
    HIDDEN,
    Bytes,
    ConfigError,
    Settings,
    SourceRule,
    is_loopback,
    split_address,
)

_PREFIX: Final = "PUSHSERVE_"
_SIZES: Final = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    for unit in ("gib", "mib", "kib", "b"):
        if text.endswith(unit) and text[: -len(unit)].strip().isdigit():
            return int(text[: -len(unit)]) * _SIZES[unit]
    if text.isdigit():
        return int(text)
    raise ValueError('a size is a number of bytes or "64 MiB" (B, KiB, MiB, GiB)')


class _Base(BaseSettings):
    """Where settings come from, and what one alone cannot tell."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the base's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order them: arguments, environment, then the file that PUSHSERVE_CONFIG names."""
        path = os.environ.get("PUSHSERVE_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        values = dict(self)
        for name in ("listen", "webhook_listen"):
            host, _ = split_address(values[name])
            if is_loopback(host) or values["insecure_listen_off_loopback"]:
                continue
            missing = _missing_protection(values) if name == "listen" else "TLS is"
            if missing:
                raise ValueError(
                    f"{name}: {host} can be reached by other machines, and {missing} "
                    "not set up; listen on 127.0.0.1 behind a proxy that has them, or set "
                    "insecure_listen_off_loopback = true"
                )
        split_address(values["webhook_server"])
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        values = dict(self)
        if bool(values["tls_certificate"]) != bool(values["tls_key"]):
            missing = "tls_key" if values["tls_certificate"] else "tls_certificate"
            raise ValueError(f"{missing}: TLS needs both tls_certificate and tls_key")
        if values["tls_client_ca"] and not values["tls_certificate"]:
            raise ValueError("tls_client_ca: without tls_certificate and tls_key there is no TLS")
        if values["token_file"] and not values["require_tokens"]:
            raise ValueError("token_file: without require_tokens no call is asked for a token")
        return self


def _missing_protection(values: Mapping[str, Any]) -> str:
    """Say what a port that others can reach needs, and lacks."""
    lacks = [
        *([] if values["tls_certificate"] else ["TLS (tls_certificate, tls_key)"]),
        *([] if values["require_tokens"] else ["tokens (require_tokens)"]),
    ]
    return f"{' and '.join(lacks)} {'are' if len(lacks) > 1 else 'is'}" if lacks else ""


def _fields() -> dict[str, Any]:
    """Give the fields of `Settings`, each with the type that checks what was given for it."""
    hints = get_type_hints(Settings, include_extras=True)
    return {
        item.name: (_checked(item, hints[item.name]), _default(item))
        for item in dataclasses.fields(Settings)
    }


def _checked(item: dataclasses.Field[Any], hint: Any) -> Any:
    if HIDDEN in item.metadata:
        return SecretStr
    if any(isinstance(mark, Bytes) for mark in get_args(hint)):
        return Annotated[hint, BeforeValidator(_parse_size)]
    return hint


def _default(item: dataclasses.Field[Any]) -> Any:
    if HIDDEN in item.metadata:
        return SecretStr("")
    if item.default_factory is not dataclasses.MISSING:
        return Field(default_factory=item.default_factory)
    return item.default


_Given: Final = create_model("Settings", __base__=_Base, **_fields())


def _field_of(text: str) -> str:
    """Find the field that pydantic's settings could not parse: it says which in words alone."""
    return next(
        (item.name for item in dataclasses.fields(Settings) if f'"{item.name}"' in text), "…"
    )


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check the configuration; `overrides` come from the command line.

    Raises:
        ConfigError: with one line for each mistake.
    """
    values = dict(overrides or {})
    if "database_url" not in values and "PUSHSERVE_DATABASE_URL" not in os.environ:
        url = os.environ.get("DATABASE_URL")
        if url:
            values["database_url"] = url
    _check_environment()
    try:
        given = _Given(**values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except SettingsError as error:
        # Of fields that are lists; its own text names classes.
        name = _field_of(str(error))
        raise ConfigError(
            f"{_PREFIX}{name.upper()}: it is no JSON, which a list in the environment has to be"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        path = os.environ.get("PUSHSERVE_CONFIG")
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None
    return Settings(**{name: _plain(getattr(given, name)) for name in _Given.model_fields})


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _check_environment() -> None:
    known = {f"{_PREFIX}{name.upper()}" for name in _Given.model_fields}
    # All but the first are the client's: how the `pushserve` command reaches the server.
    known |= {"PUSHSERVE_CONFIG", *CLIENT_VARIABLES}
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(_PREFIX)
        and name not in known
        and not is_kubernetes_variable(name, value)
    )
    if unknown:
        raise ConfigError("\n".join(_unknown_variable(name, known) for name in unknown))
    path = os.environ.get("PUSHSERVE_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"PUSHSERVE_CONFIG names {path}, which is not a file")


def _unknown_variable(name: str, known: Iterable[str]) -> str:
    bare = [item.removeprefix(_PREFIX) for item in known]  # which all of them share
    close = closest_name(name.removeprefix(_PREFIX), bare)
    hint = f". Did you mean {_PREFIX + close!r}?" if close else ""
    return f"{name}: no such setting in the environment{hint}"


def _names_at(location: tuple[int | str, ...]) -> list[str]:
    """Give the names that there are where an unknown one stands: in `sources`, or at the top."""
    kind = Settings if len(location) == 1 else SourceRule
    return [item.name for item in dataclasses.fields(kind)]


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            text = did_you_mean("no such setting", str(item["loc"][-1]), _names_at(item["loc"]))
        lines.append(f"{where}: {text}" if where else text)
    return "\n".join(lines)
