"""Settings as plain values, with their defaults.

Every process of a server holds them; `config` reads and checks them, once, with libraries
that no other process needs to import.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Le, MinLen

from pushserve_server.domain.records import Trust

HIDDEN: Final = "hidden"
"""Marks, in a field's metadata, what must not be shown."""
HIDDEN_TEXT: Final = "(hidden)"
"""Stands there instead."""


class ConfigError(Exception):
    """The configuration is wrong; the text names every mistake and the right form."""


class Bytes:
    """Marks a number of bytes, which may be written with a unit."""


Size = Annotated[int, Bytes(), Gt(0)]
Seconds = Annotated[float, Gt(0)]


def split_address(value: str) -> tuple[str, int]:
    """Split "host:port" ("[::1]:0" for IPv6).

    Raises:
        ValueError: it is not of that form.
    """
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'an address is "host:port", such as "127.0.0.1:50051"; this is {value!r}')
    return host.removeprefix("[").removesuffix("]"), int(port)


def without_password(url: str) -> str:
    """Give a URL with its password hidden, and its query, which may hold one as well.

    A password may hold "?", "#" and "@" that should have been encoded: then nothing is sure.
    """
    # Not by urlunsplit: it takes slashes away from sqlite:////path.
    scheme, separator, rest = url.partition("://")
    given, at, place = rest.rpartition("@")
    if "?" in given or "#" in given:
        return f"{scheme}{separator}{HIDDEN_TEXT}"
    user, colon, _ = given.partition(":")
    base, mark, _ = place.partition("?")
    password, query = colon and f":{HIDDEN_TEXT}", mark and f"?{HIDDEN_TEXT}"
    return f"{scheme}{separator}{user}{password}{at}{base}{query}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class SourceRule:
    """One line of the operator's list of sources.

    `url` is a clone URL in which `*` stands for anything but "/", and a "/**" at the end
    for everything below. `refs` and `paths` are globs of the branches and tags, and of the folders,
    that are deployed: all unless some are given, and never those with a "!" before. Here `*` stands
    for "/" too, and "." for the root. Where `refs` asks for some, new ones are found by looking.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    url: Annotated[str, MinLen(1)]
    trust: Trust = Trust.DATA
    refs: tuple[Annotated[str, MinLen(1)], ...] = ()
    paths: tuple[Annotated[str, MinLen(1)], ...] = ()


def _secret() -> Any:
    return field(default="", repr=False, metadata={HIDDEN: True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The server's and the webhook's settings. Made by hand, they are not checked."""

    listen: str = "127.0.0.1:50051"
    """Address of the gRPC server."""
    frontends: Annotated[int, Ge(1), Le(256)] = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that answer gRPC on that port."""
    data_dir: Path = Path("data")
    """Where bundles and the SQLite registry are."""
    database_url: str = _secret()
    """`postgresql://…` or `sqlite:///path`; empty is `registry.sqlite3` in `data_dir`."""
    insecure_listen_off_loopback: bool = False
    """Listen where other machines can reach it, without TLS and tokens."""
    tls_certificate: str = ""
    """A file with the server's certificate and those that lead to its CA (PEM); TLS, where set."""
    tls_key: str = ""
    """A file with the certificate's private key (PEM)."""
    tls_client_ca: str = ""
    """A file with the CA that signs callers' certificates (PEM): callers have to show one."""
    require_tokens: bool = False
    """Let calls in by tokens alone (`pushserve token create`)."""
    open_without_token: tuple[Literal["health", "reflection"], ...] = ("health",)
    """Services that need no token all the same: "health", "reflection"."""
    token_file: str = ""
    """A file with tokens that may do everything, one a line; made at start if it is not there."""
    start_timeout: Seconds = 60.0
    """For a process of the server to get ready; one that takes longer is started again."""
    hang_timeout: Seconds = 30.0
    """A process of the server that lives and shows no sign of it for so long is started again."""
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
    deploy_concurrency: Annotated[int, Ge(1), Le(64)] = 2
    """Models that are built at a time; eight times as many repositories are fetched from."""
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
    preload_limit: Annotated[int, Ge(0)] = 100
    """How many models are loaded at start at most; those of an earlier pattern come first."""
    graph_memory: Size = 1024**3
    """For the graphs of all frontends, in bytes; the one not called for longest is unloaded."""
    run_memory: Size = 512 * 1024**2
    """For what the graphs of one frontend take while they run, all calls together, in bytes."""
    worker_memory: Size = 4 * 1024**3
    """For all worker processes, in bytes; likewise."""

    max_request: Size = 16 * 1024**2
    """Largest gRPC message, in bytes."""
    max_answer: Size = 64 * 1024**2
    """Largest answer of a worker to one Predict, in bytes; the Python client takes no more."""
    show_model_errors: Literal["auto", "always", "never"] = "auto"
    """Whether callers are told what a model's code raised, and where in its files."""
    max_rows: Annotated[int, Ge(1)] = 65_536
    """Most rows in one Predict."""
    max_concurrent: Annotated[int, Ge(1)] = 512
    """Requests that one frontend works on at a time, of all models; more are refused at once."""
    max_control_calls: Annotated[int, Ge(1)] = 64
    """Other calls than Predict (List, Get, Register…) that one frontend works on at a time."""
    max_open_streams: Annotated[int, Ge(1)] = 1024
    """Streams that one frontend has open at a time: PredictStream, WatchDeployment, health."""
    max_streams: Annotated[int, Ge(1)] = 100
    """Calls at a time on one connection; a client sends more when some have ended."""
    max_wait: Seconds = 2.0
    """Longest wait for other calls of the same version, in seconds; else a call is refused."""
    receive_timeout: Seconds = 60.0
    """For a request to arrive once its call has begun, in seconds."""
    send_timeout: Seconds = 60.0
    """For a caller to take its answer, in seconds."""
    slow_peer_memory: Size = 128 * 1024**2
    """For requests that arrive slowly and answers that nobody takes, in each frontend, in bytes."""
    max_connection_age: Annotated[float, Ge(0)] = 0.0
    """After so many seconds a connection is closed once its calls have ended; 0 is never."""
    compress_replies: bool = False
    """Compress answers over 1 KiB for clients that take gzip."""
    transport: Literal["auto", "core", "aio"] = "auto"
    """What carries calls: gRPC's core by its Python binding, which is fast, or grpc.aio. "auto"
    takes the core where a trial call at start goes through."""
    predict_timeout: Seconds = 60.0
    """A worker that does not answer for this long is killed and started again, in seconds."""
    drain_timeout: Seconds = 15.0
    """For calls in flight to end when the server stops, in seconds."""

    webhook_listen: str = "127.0.0.1:8080"
    """Address of the webhook."""
    webhook_secret: str = _secret()
    """The secret that GitHub signs events with."""
    webhook_secret_file: str = ""
    """A file with it instead, or with several, one a line."""
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
    webhook_token: str = _secret()
    """The token that the webhook calls the server by, with scope deploy."""
    webhook_token_file: str = ""
    """A file with that token instead; a new one in it counts at the next event."""

    @property
    def database(self) -> str:
        """The database URL with its default filled in. It may hold a password."""
        default = f"sqlite:///{(self.data_dir / 'registry.sqlite3').absolute()}"
        return self.database_url or default

    @property
    def tells_model_errors(self) -> bool:
        """Whether callers are told what a model's code raised."""
        if self.show_model_errors == "auto":
            return is_loopback(split_address(self.listen)[0])
        return self.show_model_errors == "always"

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values, the secrets among them: for other processes of this server."""
        return {**asdict(self), "data_dir": str(self.data_dir)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """Build them from what `to_json` gave."""
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        sources = tuple(SourceRule(rule["url"], Trust(rule["trust"])) for rule in data["sources"])
        return cls(**{**data, **lists, "data_dir": Path(data["data_dir"]), "sources": sources})
