"""Model commands: `pin`, `unpin`, `delete`; what an operator changes by hand."""

from typing import Annotated

import typer

from pushserve_client.cli import screen
from pushserve_client.cli.connection import (
    CommitOption,
    ModelArgument,
    RefOption,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connected,
    only_one,
)


def pin(
    context: typer.Context,
    model: ModelArgument,
    *,
    ref: RefOption = None,
    version: VersionOption = None,
    commit: CommitOption = None,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Hold a ref on a version (a rollback). Pushes still build, and do not go live there."""
    only_one(version=version, commit=commit)
    with connected(context, server, timeout) as client:
        held = client.pin(model, ref=ref, version=version, commit=commit)
    screen.say(f"{model}: {held.name} is held on version {held.version} ({held.commit[:10]})")


def unpin(
    context: typer.Context,
    model: ModelArgument,
    *,
    ref: RefOption = None,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Let a ref follow Git again."""
    with connected(context, server, timeout) as client:
        free = client.unpin(model, ref=ref)
    screen.say(f"{model}: {free.name} follows Git, at version {free.version} ({free.commit[:10]})")


def delete(
    context: typer.Context,
    model: ModelArgument,
    *,
    ref: RefOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Stop serving a model with all its versions, or one ref of it."""
    what = f"{ref} of {model}" if ref else f"{model} with all its versions"
    if not yes:
        typer.confirm(f"Stop serving {what}?", abort=True)
    with connected(context, server, timeout) as client:
        gone = client.delete(model, ref=ref)
    screen.say(f"{model}: no longer served: {', '.join(gone) or 'nothing was'}")
