"""`pushserve doctor`: what the server needs of this machine, checked one by one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from rich.text import Text

from pushserve_client.cli import screen
from pushserve_client.client import Client
from pushserve_server.access.certificates import CertificateFiles
from pushserve_server.config import load_settings
from pushserve_server.data_layout import address_file
from pushserve_server.settings import ConfigError, Settings, split_address

_OLDEST_GIT: Final = (2, 39)
"""The oldest that pushserve's way of fetching was tried with."""
_LEAST_SPACE: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. `fix` is empty where it is well."""

    name: str
    detail: str
    fix: str = ""


def main() -> int:
    """Check everything and print it; gives the exit code, 1 where something is wrong."""
    try:
        settings = load_settings()
    except ConfigError as error:
        _print(Check("configuration", str(error), "`pushserve config` shows what is in effect."))
        return 1
    checks = list(all_checks(settings))
    for check in checks:
        _print(check)
    return int(any(check.fix for check in checks))


def _print(check: Check) -> None:
    state, style = ("problem", "bold red") if check.fix else ("ok", "green")
    line = Text(f"{state:<8}", style=style).append(f"{check.name:<14}", style="bold")
    console = screen.output()
    console.print(line.append(screen.clean(check.detail), style="not bold default"), soft_wrap=True)
    if check.fix:
        console.print(Text(" " * 22 + screen.clean(check.fix)), soft_wrap=True)


def all_checks(settings: Settings) -> Iterator[Check]:
    """Yield every check, in the order in which the server needs them."""
    yield Check("configuration", os.environ.get("PUSHSERVE_CONFIG", "environment and defaults"))
    yield check_sources(settings)
    yield check_git()
    yield check_sandbox()
    yield check_data_dir(settings.data_dir)
    yield check_database(settings.database)
    yield check_access(settings)
    yield check_port("gRPC port", settings.listen, settings)
    yield check_port("webhook port", settings.webhook_listen)


def check_sources(settings: Settings) -> Check:
    """A server without sources refuses every repository."""
    if settings.sources:
        return Check("sources", f"{len(settings.sources)} listed")
    fix = 'List the repositories that may be served: [[sources]] url = "…" trust = "data"'
    return Check("sources", "none is listed: every repository is refused", fix)


def check_git() -> Check:
    """Git is there and new enough."""
    try:
        done = subprocess.run(
            ["git", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return Check("git", "cannot be run", "Install git 2.39 or newer and put it on the PATH.")
    found = re.search(r"\b(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_GIT:
        return Check("git", done.stdout.strip(), "Install git 2.39 or newer.")
    return Check("git", done.stdout.strip())


def check_sandbox() -> Check:
    """The kernel has what the jail is made of."""
    command = [sys.executable, "-I", "-B", "-m", "pushserve_sandbox.isolation.check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        problems = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        fix = f"`{' '.join(command)}` says why."
        return Check("sandbox", f"could not be tried: {error}", fix)
    if not problems:
        return Check("sandbox", "Landlock and seccomp work")
    fix = "Code from repositories cannot be jailed here: use a newer kernel, or allow these calls."
    return Check("sandbox", "; ".join(problems), fix)


def check_data_dir(path: Path) -> Check:
    """The data directory can be written, and has space left."""
    place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        fix = "Give this user the right to write there, or set PUSHSERVE_DATA_DIR."
        return Check("data dir", f"{path.absolute()} cannot be written", fix)
    free = shutil.disk_usage(place).free
    detail = f"{path.absolute()}, {free / 1024**3:.1f} GiB free"
    if free < _LEAST_SPACE:
        return Check(
            "data dir", detail, "Free some space: bundles and mirrors need at least 1 GiB."
        )
    return Check("data dir", detail)


def check_database(url: str) -> Check:
    """The registry's database answers. Nothing is made or migrated."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return _check_sqlite(Path(rest.removeprefix("/")))
    try:
        with psycopg.connect(f"postgresql://{rest}", connect_timeout=5) as connection:
            row = connection.execute("show server_version").fetchone()
    except psycopg.Error as error:
        # Only the kind: the text of some errors holds the whole connection string.
        kind = type(error).__name__
        fix = "Start PostgreSQL, or correct DATABASE_URL (postgresql://user:password@host/name)."
        return Check("database", f"PostgreSQL cannot be used ({kind})", fix)
    return Check("database", f"PostgreSQL {row[0] if row else ''}")


def _check_sqlite(path: Path) -> Check:
    if not path.exists():
        return Check("database", f"SQLite, {path} will be made")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            connection.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error as error:
        fix = "Restore the file, or move it away to start with an empty registry."
        return Check("database", f"{path}: {error}", fix)
    return Check("database", f"SQLite, {path}")


def check_access(settings: Settings) -> Check:
    """Certificate files can be used; what is open to anybody is said."""
    tokens = "tokens are asked for" if settings.require_tokens else "no token is asked for"
    files = CertificateFiles.of(settings)
    if files is None:
        return Check("access", f"no TLS, {tokens}")
    try:
        files.read()
    except ConfigError as error:
        return Check("access", str(error), "Correct the file: the server does not start with it.")
    return Check(
        "access", f"TLS, {'and callers show certificates, ' * bool(files.client_ca)}{tokens}"
    )


def check_port(name: str, address: str, settings: Settings | None = None) -> Check:
    """The port is free, or a server of ours has it."""
    host, port = split_address(address)
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if settings is not None and _is_ours(address, settings):
            return Check(name, f"{address}: a server runs there")
        fix = "Stop what uses the port, or choose another one."
        return Check(name, f"{address}: {error.strerror or error}", fix)
    return Check(name, f"{address} is free")


def _is_ours(address: str, settings: Settings) -> bool:
    if settings.tls_certificate:
        # It may ask for a certificate, and be called by another name: its own word has to do.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(address_file(settings).read_text())
            os.kill(int(said["pid"]), 0)
            return bool(said["listen"] == address)
        return False
    with Client(address, retry=False) as client:
        return client.is_serving("pushserve.v1.ModelService")
