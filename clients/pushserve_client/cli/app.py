"""The `pushserve` command's commands, under their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from pushserve_client.cli import admin, deploying, predicting, reading, running
from pushserve_client.cli.connection import DEFAULT_SERVER

app: Final = typer.Typer(
    name="pushserve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def choose_server(
    context: typer.Context,
    server: Annotated[
        str, typer.Option("--server", metavar="HOST:PORT", envvar="PUSHSERVE_SERVER")
    ] = DEFAULT_SERVER,
) -> None:
    """Push a model to Git, and it is served."""
    context.obj = server


_PANELS: Final[dict[str, dict[str, Callable[..., None]]]] = {
    "Models": {
        "register": deploying.register,
        "list": reading.list_models,
        "get": reading.get,
        "predict": predicting.predict,
    },
    "Deployments": {"deployments": reading.deployments, "deployment": reading.deployment},
    "Operating": {"pin": admin.pin, "unpin": admin.unpin, "delete": admin.delete},
    "This machine": {
        "serve": running.serve,
        "webhook": running.webhook,
        "config": running.config,
        "doctor": running.doctor,
        "version": running.version,
    },
}

for _panel, _commands in _PANELS.items():
    for _name, _function in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_function)
