"""Server commands: `serve`, `webhook`, `config`, `doctor`, `token`, `version`.

The client's distribution holds their options and nothing more. The rest is in the server's and
the webhook's, which may not be installed where only the client is.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final, NoReturn, Optional

import typer

from pushserve_client import version as package_version
from pushserve_client.cli import screen
from pushserve_client.cli.connection import JsonOption

ConfigOption = Annotated[
    Optional[Path], typer.Option("--config", help="The TOML file. Also PUSHSERVE_CONFIG.")
]

_ELSEWHERE: Final = {
    "serve": ("pushserve_server.commands.serve", "pushserve"),
    "config": ("pushserve_server.commands.configuration", "pushserve"),
    "doctor": ("pushserve_server.commands.doctor", "pushserve"),
    "token": ("pushserve_server.commands.tokens", "pushserve"),
    "webhook": ("pushserve_webhook.main", "pushserve-webhook"),
}
"""The module that has a command, and the distribution that it comes with."""


def _run(command: str, function: str = "main", **options: object) -> NoReturn:
    """Run a command that another distribution holds, or say which one to install."""
    module, distribution = _ELSEWHERE[command]
    try:
        main = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        screen.fail(
            f"`pushserve {command}` is not installed here: there is no module {error.name}",
            f"Install it with: pip install {distribution}",
        )
        raise typer.Exit(1) from None
    raise typer.Exit(main(**options))


def _use_config(path: Optional[Path]) -> None:
    """Name the file to this process and to those that it starts."""
    if path is not None:
        os.environ["PUSHSERVE_CONFIG"] = str(path.absolute())


def serve(
    config: ConfigOption = None,
    listen: Annotated[
        Optional[str], typer.Option("--listen", metavar="HOST:PORT", help="The gRPC address.")
    ] = None,
    data_dir: Annotated[
        Optional[Path], typer.Option("--data-dir", help="Where bundles and the registry are.")
    ] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    _use_config(config)
    given = {"PUSHSERVE_LISTEN": listen, "PUSHSERVE_DATA_DIR": data_dir}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    _run("serve")


def webhook(config: ConfigOption = None) -> None:
    """Run the webhook, which tells the server of GitHub's push events."""
    _use_config(config)
    _run("webhook")


def config(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the configuration as it is in effect, and where each setting is from."""
    _use_config(file)
    _run("config", as_json=as_json)


def doctor(file: ConfigOption = None) -> None:
    """Check what the server needs of this machine: git, sandbox, database, ports, disk."""
    _use_config(file)
    _run("doctor")


token: Final = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens for callers.")


@token.command("create")
def create_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom it is for.")],
    *,
    scope: Annotated[
        Optional[list[str]],
        typer.Option("--scope", help="predict, read, deploy, admin; may be repeated."),
    ] = None,
    model: Annotated[
        Optional[list[str]],
        typer.Option("--model", help="Only this model (* for any part); may be repeated."),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help='"12h", "90d", "52w", "never".')
    ] = "90d",
    file: ConfigOption = None,
) -> None:
    """Make a token, and print it: this once, alone on standard output."""
    _use_config(file)
    _run("token", "create", name=name, scopes=scope or [], models=model or [], expires=expires)


@token.command("list")
def list_tokens(file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the tokens that there are, and when they were used last."""
    _use_config(file)
    _run("token", "list_all", as_json=as_json)


@token.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    file: ConfigOption = None,
) -> None:
    """Have a token let nobody in any more."""
    _use_config(file)
    _run("token", "revoke", token_id=token_id)


def version() -> None:
    """Print the version of pushserve."""
    screen.say(package_version.__version__)
