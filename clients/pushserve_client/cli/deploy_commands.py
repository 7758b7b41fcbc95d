"""Deploy commands: `register`, and following a deployment until it has ended."""

import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from pushserve_client.cli import screen
from pushserve_client.cli.connection import (
    RefOption,
    ServerOption,
    TimeoutOption,
    connected,
    only_one,
    target_of,
    timeout_of,
)
from pushserve_client.cli.next_commands import lines_to_copy
from pushserve_client.cli.running_line import RunningLine
from pushserve_client.client import Client
from pushserve_client.deployment_progress import Deadline, successor
from pushserve_client.errors import DeadlineExceeded, NotFound
from pushserve_client.types import Deployment, DeploymentState, ModelDetails, Ref


def register(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Clone URL, or a local folder.")],
    *,
    ref: RefOption = None,
    commit: Annotated[Optional[str], typer.Option("--commit", help="A commit's full SHA.")] = None,
    path: Annotated[str, typer.Option("--path", help="Folder that holds the model.")] = "",
    model: Annotated[str, typer.Option("--model", help="Name to serve it under.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Try a failed commit again.")] = False,
    follow: Annotated[bool, typer.Option(help="Show how it goes until it has ended.")] = True,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Take a branch, tag or commit of a Git repository live."""
    only_one(ref=ref, commit=commit)
    with connected(context, server, timeout) as client:
        deployment = client.register(
            _url_of(source), ref=ref, commit=commit, path=path, model=model, retry=retry
        )
        if follow:
            limit = timeout_of(context, timeout)
            follow_to_the_end(client, deployment.name, target_of(context, server), limit)
        else:
            screen.say(deployment.name)


def _url_of(source: str) -> str:
    """Give a local folder's file URL: the server's working directory is another one."""
    if ":" in source:
        return source
    if not Path(source).is_dir():
        raise typer.BadParameter(
            f"{source} is no folder here, and no clone URL such as https://host/path"
        )
    return Path(source).absolute().as_uri()


def follow_to_the_end(
    client: Client, name: str, target: str, timeout: Optional[float] = None
) -> None:
    """Show each stage with the time it took; exit code 1 if it fails, 130 on Ctrl-C.

    `timeout` bounds the showing, in seconds; the deployment goes on.
    """
    deadline = Deadline(timeout)
    try:
        while name:
            last = _show(client, name, deadline)
            if last.state is DeploymentState.FAILED:
                print_failure(last)
                raise typer.Exit(1)
            name = successor(last)
            if name:
                screen.say(f"superseded by {name}, which is newer")
    except KeyboardInterrupt:
        screen.remark(f"\n{_continues(name)}")
        raise typer.Exit(130) from None
    except DeadlineExceeded:
        screen.fail(f"it has not ended within {timeout:g} s", _continues(name))
        raise typer.Exit(1) from None
    _say_how_it_ended(client, last, target)


def _continues(name: str) -> str:
    return f"the deployment continues; to follow it: pushserve deployment {name} --follow"


def _say_how_it_ended(client: Client, last: Deployment, target: str) -> None:
    details = _details(client, last)
    pinned = _pinned_elsewhere(details, last)
    if pinned is not None:
        screen.say(_not_live(last, pinned), style="yellow")
        return
    screen.say(_success(last), style="green")
    if details is not None and last.state is DeploymentState.READY:
        screen.say("to call it:")
        for line in lines_to_copy(details, last, target):
            screen.copyable(f"  {line}")


def _show(client: Client, name: str, deadline: Deadline) -> Deployment:
    console = screen.output()
    screen.say(f"deployment {name}")
    with RunningLine(console) as running:
        shown = 0
        for deployment in client.watch(name, timeout=deadline.left()):
            lines = list(stage_lines(deployment))
            for line in lines[shown:]:
                screen.say(line, console=console)
            shown = max(shown, len(lines))
            running.show(f"{deployment.state.lower()} {deployment.message}")
    return deployment


def stage_lines(deployment: Deployment) -> Iterator[str]:
    """Yield one line for each stage that has ended, with the time it took."""
    for event, following in zip(deployment.events, deployment.events[1:]):
        yield f"  {event.state.lower():<11}{_seconds(event.time, following.time)}  {event.message}"


def _seconds(start: Optional[datetime], end: Optional[datetime]) -> str:
    return f"{(end - start).total_seconds():7.2f} s" if start and end else " " * 9


def _success(deployment: Deployment) -> str:
    took = _seconds(deployment.create_time, deployment.update_time).strip()
    where = f" at {deployment.ref}" if deployment.ref else ""
    if not deployment.version:
        return f"done: {deployment.message or deployment.ref}"
    return (
        f"live: {deployment.model} version {deployment.version} "
        f"(commit {deployment.commit[:10]}){where}" + (f", after {took}" if took else "")
    )


def _details(client: Client, deployment: Deployment) -> Optional[ModelDetails]:
    """Give the model with the deployment's version; None where it has none, or is deleted."""
    if not deployment.version:
        return None
    try:
        return client.get(deployment.model, version=deployment.version)
    except NotFound:
        return None


def _pinned_elsewhere(details: Optional[ModelDetails], deployment: Deployment) -> Optional[Ref]:
    """Give the deployment's ref where a pin lets another version answer."""
    refs = details.model.refs if details and deployment.ref else ()
    found = (ref for ref in refs if ref.name == deployment.ref and ref.pinned)
    return next((ref for ref in found if ref.version != deployment.version), None)


def _not_live(deployment: Deployment, pinned: Ref) -> str:
    return (
        f"ready: {deployment.model} version {deployment.version} "
        f"(commit {deployment.commit[:10]}); {pinned.name} is pinned to version {pinned.version}, "
        f"which answers until: pushserve unpin {deployment.model} --ref {pinned.name}"
    )


def print_failure(deployment: Deployment) -> None:
    """Print why a deployment failed and what to change."""
    failure = deployment.failure
    if failure is None:
        screen.fail(deployment.message or "the deployment failed")
        return
    screen.fail(f"{failure.reason} while {failure.step.lower()}: {failure.message}", failure.fix)
    screen.remark(f"to try the same commit again: {_again(deployment)}")


def _again(deployment: Deployment) -> str:
    """Give the command that registers it once more, though its commit has failed."""
    options = {"--ref": deployment.ref, "--path": deployment.path}
    if not deployment.ref:
        options["--commit"] = deployment.commit
    given = [part for name, value in options.items() if value for part in (name, value)]
    return shlex.join(["pushserve", "register", deployment.source, *given, "--retry"])
