"""Configuration: environment over one TOML file over defaults, checked once at start.

Every setting is `PUSHSERVE_<NAME>` in the environment and `<name>` in the file that
`PUSHSERVE_CONFIG` (or `--config`) names. `DATABASE_URL` is read as well.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pushserve_server.domain.records import Trust

_SIZES: Final = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


class ConfigError(Exception):
    """The configuration is wrong; the text names every mistake and the right form."""


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


Size = Annotated[int, BeforeValidator(_parse_size), Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


def split_address(value: str) -> tuple[str, int]:
    """Split "host:port" ("[::1]:0" for IPv6).

    Raises:
        ValueError: it is not of that form.
    """
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'an address is "host:port", such as "127.0.0.1:50051"; this is {value!r}')
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SourceRule(BaseModel):
    """One line of the operator's list of sources.

    `url` is a clone URL in which `*` stands for anything but "/", and a "/**" at the end
    for everything below.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    trust: Trust = Trust.DATA


class Settings(BaseSettings):
    """The server's and the webhook's settings, with their defaults."""

    model_config = SettingsConfigDict(
        env_prefix="PUSHSERVE_", extra="forbid", frozen=True, validate_default=True
    )

    listen: str = "127.0.0.1:50051"
    """Address of the gRPC server."""
    frontends: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    """Processes that answer gRPC on that port."""
    data_dir: Path = Path("data")
    """Where bundles and the SQLite registry are."""
    database_url: SecretStr = SecretStr("")
    """`postgresql://…` or `sqlite:///path`; empty is `registry.sqlite3` in `data_dir`."""
    insecure_listen_off_loopback: bool = False
    """Listen where other machines can reach it, without TLS and tokens."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log records to show."""

    sources: tuple[SourceRule, ...] = ()
    """Repositories that may be served; every other one is refused."""
    skops_trusted_types: tuple[str, ...] = ("sklearn.tree._tree.Tree",)
    """Types in `.skops` files to trust besides those that skops trusts itself."""

    max_artifact: Size = 512 * 1024**2
    """Largest file of a repository, in bytes."""
    max_repository: Size = 1024**3
    """Largest model folder, in bytes."""
    fetch_timeout: Seconds = 120.0
    """For talking to the remote about one deployment, in seconds."""
    build_timeout: Seconds = 120.0
    """For loading and checking one model in the sandbox, in seconds."""
    sandbox_memory: Size = 4 * 1024**3
    """Address space that a build or a worker may grow by, in bytes."""
    load_timeout: Seconds = 60.0
    """For every frontend to load a version that passed its gate, in seconds."""
    lease: Seconds = 15.0
    """A deployer that did not renew for this long is taken for dead."""
    reconcile_interval: Seconds = 60.0
    """Between two looks at every source's refs."""
    idle_unload: Seconds = 300.0
    """A version that only calls by number or commit need is unloaded after this long."""
    preload: tuple[str, ...] = ("*",)
    """Models to load at start, by name ("*" stands for any part); others on their first call."""
    preload_limit: int = Field(default=100, ge=0)
    """How many models are loaded at start at most; those of an earlier pattern come first."""
    graph_memory: Size = 1024**3
    """For the graphs of all frontends, in bytes; the one not called for longest makes room."""
    worker_memory: Size = 4 * 1024**3
    """For all worker processes, in bytes; likewise."""

    max_request: Size = 16 * 1024**2
    """Largest gRPC message, in bytes."""
    max_rows: int = Field(default=65_536, ge=1)
    """Most rows in one Predict."""
    max_concurrent: int = Field(default=1024, ge=1)
    """Calls that one frontend works on at a time; more are refused at once."""
    drain_timeout: Seconds = 15.0
    """For calls in flight to end when the server stops, in seconds."""

    webhook_listen: str = "127.0.0.1:8080"
    """Address of the webhook."""
    webhook_secret: SecretStr = SecretStr("")
    """The secret that GitHub signs events with."""
    insecure_webhook_without_secret: bool = False
    """Accept events that nobody signed."""
    webhook_server: str = "127.0.0.1:50051"
    """Where the webhook calls Register."""

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
        for name in ("listen", "webhook_listen"):
            host, _ = split_address(getattr(self, name))
            if not is_loopback(host) and not self.insecure_listen_off_loopback:
                raise ValueError(
                    f"{name}: {host} can be reached by other machines, and TLS and tokens are "
                    "not set up; listen on 127.0.0.1 behind a proxy that has them, or set "
                    "insecure_listen_off_loopback = true"
                )
        split_address(self.webhook_server)
        return self

    @property
    def database(self) -> str:
        """The database URL with its default filled in. It may hold a password."""
        url = self.database_url.get_secret_value()
        return url or f"sqlite:///{(self.data_dir / 'registry.sqlite3').absolute()}"


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
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        path = os.environ.get("PUSHSERVE_CONFIG")
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None


def _check_environment() -> None:
    known = {f"PUSHSERVE_{name.upper()}" for name in Settings.model_fields}
    # The second is the client's: where the `pushserve` command finds the server.
    known |= {"PUSHSERVE_CONFIG", "PUSHSERVE_SERVER"}
    unknown = sorted(n for n in os.environ if n.startswith("PUSHSERVE_") and n not in known)
    if unknown:
        raise ConfigError("unknown settings in the environment: " + ", ".join(unknown))
    path = os.environ.get("PUSHSERVE_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"PUSHSERVE_CONFIG names {path}, which is not a file")


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        lines.append(
            f"{where}: {item['msg']}" if where else item["msg"].removeprefix("Value error, ")
        )
    return "\n".join(lines)
