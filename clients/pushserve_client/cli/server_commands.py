"""`serve`, `webhook`, `config`, `doctor`, `version`: what runs on the server's machine.

The server's and the webhook's packages are loaded by the command that needs them, and
only then: they may not be installed where only the client is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pushserve_client.cli import screen
from pushserve_client.cli.connection import JsonOption

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The TOML file. Also PUSHSERVE_CONFIG.")
]


@contextlib.contextmanager
def _installed(what: str) -> Iterator[None]:
    """Say what is not installed, instead of a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        screen.fail(
            f"{what} is not installed here: there is no {error.name}",
            "install pushserve with all it needs: pip install pushserve",
        )
        raise typer.Exit(1) from None


def _use_config(path: Path | None) -> None:
    """Name the file to this process and to those that it starts."""
    if path is not None:
        os.environ["PUSHSERVE_CONFIG"] = str(path.absolute())


def serve(
    config: ConfigOption = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="The gRPC address.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where bundles and the registry are.")
    ] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    _use_config(config)
    given = {"PUSHSERVE_LISTEN": listen, "PUSHSERVE_DATA_DIR": data_dir}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    with _installed("the server"):
        from pushserve_server.config import load_settings  # noqa: PLC0415
        from pushserve_server.processes.main import become_server  # noqa: PLC0415
        from pushserve_server.settings import ConfigError  # noqa: PLC0415
    try:
        settings = load_settings()
    except ConfigError as error:
        screen.fail(str(error))
        raise typer.Exit(1) from None
    become_server(settings)


def webhook(config: ConfigOption = None) -> None:
    """Run the webhook, which tells the server of GitHub's push events."""
    _use_config(config)
    with _installed("the webhook"):
        from pushserve_webhook.main import main as run_webhook  # noqa: PLC0415

    raise typer.Exit(run_webhook())


def config(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the configuration as it is in effect, and where each setting is from."""
    _use_config(file)
    with _installed("the server"):
        from pushserve_client.cli.configuration import print_configuration  # noqa: PLC0415

    raise typer.Exit(print_configuration(as_json=as_json))


def doctor(file: ConfigOption = None) -> None:
    """Check what the server needs of this machine: git, sandbox, database, ports, disk."""
    _use_config(file)
    with _installed("the server"):
        from pushserve_client.cli.doctor import print_checks  # noqa: PLC0415

    raise typer.Exit(print_checks())


def version() -> None:
    """Print the version of pushserve."""
    screen.say(importlib.metadata.version("pushserve"))
