"""Command line application: the commands under their names."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Optional

import typer

from pushserve_client.cli import (
    deploy_commands,
    model_commands,
    predict_commands,
    read_commands,
    server_commands,
)
from pushserve_client.cli.connection import DEFAULT_SERVER, Defaults, TimeoutOption

app: Final = typer.Typer(
    name="pushserve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        server_commands.version()
        raise typer.Exit


@app.callback()
def choose_server(
    context: typer.Context,
    *,
    server: Annotated[
        Optional[str],
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            envvar="PUSHSERVE_SERVER",
            help=f"The server; {DEFAULT_SERVER} where nothing says another one.",
        ),
    ] = None,
    timeout: TimeoutOption = None,
    tls: Annotated[bool, typer.Option("--tls", help="The server speaks TLS.")] = False,
    ca: Annotated[
        Optional[Path],
        typer.Option("--ca", metavar="FILE", help="Certificates to trust (PEM); means --tls."),
    ] = None,
    certificate: Annotated[
        Optional[Path],
        typer.Option("--cert", metavar="FILE", help="The caller's certificate (PEM), for mTLS."),
    ] = None,
    key: Annotated[
        Optional[Path], typer.Option("--key", metavar="FILE", help="Its private key (PEM).")
    ] = None,
    profile: Annotated[
        Optional[Path],
        typer.Option(
            "--profile",
            metavar="FILE",
            envvar="PUSHSERVE_PROFILE",
            help="A file with all of these and a token; else ~/.config/pushserve/profile.",
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it, and end."
        ),
    ] = False,
) -> None:
    """Push a model to Git, and it is served."""
    context.obj = Defaults(server, timeout, tls, ca, certificate, key, profile)


_PANELS: Final[dict[str, dict[str, Callable[..., None]]]] = {
    "Models": {
        "register": deploy_commands.register,
        "list": read_commands.list_models,
        "get": read_commands.get,
        "predict": predict_commands.predict,
    },
    "Deployments": {
        "deployments": read_commands.deployments,
        "deployment": read_commands.deployment,
    },
    "Operating": {
        "pin": model_commands.pin,
        "unpin": model_commands.unpin,
        "delete": model_commands.delete,
        "info": read_commands.info,
    },
    "This machine": {
        "serve": server_commands.serve,
        "webhook": server_commands.webhook,
        "config": server_commands.config,
        "doctor": server_commands.doctor,
        "version": server_commands.version,
    },
}

app.add_typer(server_commands.token, name="token", rich_help_panel="This machine")

for _panel, _commands in _PANELS.items():
    for _name, _function in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_function)
