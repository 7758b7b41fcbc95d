"""Connection of one command, and its errors in words."""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Optional

import typer

from pushserve_client import errors
from pushserve_client.cli import screen
from pushserve_client.cli.profile import Profile, read_profile
from pushserve_client.client import Client
from pushserve_client.variables import TOKEN_VARIABLE

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
    """What the options before the command say."""

    server: Optional[str] = None
    timeout: Optional[float] = None
    tls: bool = False
    ca: Optional[Path] = None
    certificate: Optional[Path] = None
    key: Optional[Path] = None
    profile_file: Optional[Path] = None

    @functools.cached_property
    def profile(self) -> Profile:
        """What stands in the profile file, for what nothing else says."""
        try:
            return read_profile(self.profile_file)
        except errors.BadArgument as error:
            raise typer.BadParameter(str(error)) from None

    def access(self, target: str) -> dict[str, Any]:
        """Give the arguments of a `Client` for `target` that say who calls, and over what.

        A profile is for its own server: its token goes to no other.
        """
        own = self.profile.server or DEFAULT_SERVER
        profile = self.profile if target == own else Profile()
        pair = (self.certificate, self.key)
        certificate, key = pair if any(pair) else (profile.certificate, profile.key)
        return {
            "tls": self.tls or profile.tls,
            "ca": self.ca or profile.ca,
            "certificate": certificate,
            "key": key,
            "token": os.environ.get(TOKEN_VARIABLE) or profile.token,
        }


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
        with Client(target, timeout=limit, **defaults.access(target)) as client:
            yield client
    except errors.ClientError as error:
        screen.fail(*explain(error, target))
        raise typer.Exit(1) from None


def target_of(context: typer.Context, server: Optional[str]) -> str:
    """Give the server's address, by the command, what stands before it, or the environment."""
    defaults = context.obj if isinstance(context.obj, Defaults) else Defaults()
    return server or defaults.server or defaults.profile.server or DEFAULT_SERVER


def timeout_of(context: typer.Context, timeout: Optional[float]) -> Optional[float]:
    """Give the timeout that somebody asked for, in seconds; None where nobody did."""
    defaults = context.obj if isinstance(context.obj, Defaults) else Defaults()
    return timeout if timeout is not None else defaults.timeout


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
    if "CERTIFICATE_VERIFY_FAILED" in error.message or "Peer name" in error.message:
        return (
            f"the certificate that is shown at {target} is not one to trust under that name",
            "Name the CA that signed it by --ca FILE, and the server as its certificate does.",
        )
    if "WRONG_VERSION_NUMBER" in error.message:
        return f"what answers at {target} speaks no TLS", "Leave out --tls, --ca and --cert."
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
    if error.reason in ("TOKEN_MISSING", "TOKEN_UNKNOWN"):
        return f"Set {TOKEN_VARIABLE} to a token, or write one into a profile file (--profile)."
    if error.reason == "MODEL_NOT_FOUND":
        return "`pushserve list` shows the models that there are."
    if error.retry_after is not None and "again" not in error.message:
        return f"Try again in {error.retry_after:g} s."
    return ""
