"""Connection of one command, and its errors in words."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Final, Optional

import typer

from pushserve_client import errors
from pushserve_client.cli import screen
from pushserve_client.client import Client

DEFAULT_SERVER: Final = "127.0.0.1:50051"

ServerOption = Annotated[
    Optional[str],
    typer.Option("--server", metavar="HOST:PORT", help="The server. Also PUSHSERVE_SERVER."),
]
RefOption = Annotated[Optional[str], typer.Option("--ref", help="A branch or tag.")]
VersionOption = Annotated[
    Optional[int], typer.Option("--version", min=1, help="A version's number.")
]
CommitOption = Annotated[
    Optional[str], typer.Option("--commit", help="A commit's SHA, 7 digits at least.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@contextlib.contextmanager
def connected(context: typer.Context, server: Optional[str]) -> Iterator[Client]:
    """Connect to the server that the command or the environment names.

    An error of the client or the server is printed and ends the command with code 1.
    """
    target = server or (context.obj if isinstance(context.obj, str) else DEFAULT_SERVER)
    try:
        with Client(target) as client:
            yield client
    except errors.ClientError as error:
        screen.fail(*explain(error, target))
        raise typer.Exit(1) from None


def only_one(**targets: object) -> None:
    """Refuse options that contradict each other."""
    given = [f"--{name}" for name, value in targets.items() if value is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"give one of {' and '.join(given)}, not both")


def explain(error: errors.ClientError, target: str) -> tuple[str, str]:
    """Give what is wrong, and what to do about it ("" where the text says it)."""
    if not isinstance(error, errors.CallError):
        return str(error), getattr(error, "fix", "")
    if isinstance(error, errors.Unavailable) and not error.reason:
        # gRPC's own text; the server's errors have a reason.
        fix = "Start one with `pushserve serve`, or name another with --server HOST:PORT."
        return f"no server answers at {target}", fix
    if isinstance(error, errors.DeadlineExceeded) and not error.reason:
        return f"the server at {target} did not answer in time", "Try again."
    return str(error), _advice(error)


def _advice(error: errors.CallError) -> str:
    if error.violations:
        return "\n".join(f"  {v.field}: {v.description}" for v in error.violations)
    if error.reason == "MODEL_NOT_FOUND":
        return "`pushserve list` shows the models that there are."
    if error.retry_after is not None:
        return f"Try again in {error.retry_after:g} s."
    return ""
