"""Connection of one command, and its errors in words."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Optional

import grpc
import typer

from pushserve_client import errors
from pushserve_client.cli import screen
from pushserve_client.client import Client

DEFAULT_SERVER: Final = "127.0.0.1:50051"
_TIMEOUT: Final = 30.0
"""Seconds for a call where nobody asks for others."""

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
TimeoutOption = Annotated[
    Optional[float],
    typer.Option("--timeout", metavar="SECONDS", help="How long to wait for an answer."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@dataclass(frozen=True)
class Defaults:
    """What the options before the command say; `tls` is of a server behind a proxy that has it."""

    server: str = DEFAULT_SERVER
    timeout: Optional[float] = None
    tls: bool = False
    ca: Optional[Path] = None


@contextlib.contextmanager
def connected(
    context: typer.Context, server: Optional[str], timeout: Optional[float]
) -> Iterator[Client]:
    """Connect to the server that the command or the environment names.

    An error of the client or the server is printed and ends the command with code 1.
    """
    defaults = context.obj if isinstance(context.obj, Defaults) else Defaults()
    target = target_of(context, server)
    asked = timeout_of(context, timeout)
    limit = _TIMEOUT if asked is None else asked
    try:
        with Client(target, timeout=limit, credentials=_credentials(defaults)) as client:
            yield client
    except errors.ClientError as error:
        screen.fail(*explain(error, target))
        raise typer.Exit(1) from None


def target_of(context: typer.Context, server: Optional[str]) -> str:
    """Give the server's address, by the command, what stands before it, or the environment."""
    defaults = context.obj if isinstance(context.obj, Defaults) else Defaults()
    return server or defaults.server


def timeout_of(context: typer.Context, timeout: Optional[float]) -> Optional[float]:
    """Give the timeout that somebody asked for, in seconds; None where nobody did."""
    defaults = context.obj if isinstance(context.obj, Defaults) else Defaults()
    return timeout if timeout is not None else defaults.timeout


def _credentials(defaults: Defaults) -> Optional[grpc.ChannelCredentials]:
    if not (defaults.tls or defaults.ca):
        return None
    try:
        roots = defaults.ca.read_bytes() if defaults.ca else None
    except OSError as error:
        raise typer.BadParameter(f"{defaults.ca} cannot be read: {error.strerror}") from None
    return grpc.ssl_channel_credentials(roots)


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
        return _no_answer(error, target)  # gRPC's own text; the server's errors have a reason
    if isinstance(error, errors.DeadlineExceeded) and not error.reason:
        return (
            f"the server at {target} did not answer in time",
            "Give it more by --timeout SECONDS.",
        )
    if isinstance(error, errors.Unimplemented):
        return f"the server at {target} does not know this call", "Its pushserve may be older."
    return str(error), _advice(error)


def _no_answer(error: errors.Unavailable, target: str) -> tuple[str, str]:
    if any(sign in error.message for sign in ("HTTP/2", "http1")):  # as gRPC's core tells it
        return f"what answers at {target} is no gRPC server", "Name another port by --server."
    if ":" not in target:
        return f"no server answers at {target}", f"Name its port, too: --server {target}:50051."
    fix = "Start one with `pushserve serve`, or name another with --server HOST:PORT."
    return f"no server answers at {target}", fix


def _advice(error: errors.CallError) -> str:
    """What to do, where the message does not say it already."""
    others = [v for v in error.violations if v.description not in error.message]
    if others:
        return "\n".join(f"  {v.field}: {v.description}" for v in others)
    if error.violations or "did you mean" in error.message.lower():
        return ""
    if error.reason == "MODEL_NOT_FOUND":
        return "`pushserve list` shows the models that there are."
    if error.retry_after is not None and "again" not in error.message:
        return f"Try again in {error.retry_after:g} s."
    return ""
