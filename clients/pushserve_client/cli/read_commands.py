"""Read commands: `list`, `get`, `deployments`, `deployment`; what the server knows."""

import itertools
from typing import Annotated, Final, Optional

import typer

from pushserve_client.cli import screen
from pushserve_client.cli.connection import (
    CommitOption,
    JsonOption,
    ModelArgument,
    RefOption,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connected,
    only_one,
    target_of,
    timeout_of,
)
from pushserve_client.cli.deploy_commands import follow_to_the_end, print_failure, stage_lines
from pushserve_client.types import (
    Accepts,
    Deployment,
    DeploymentState,
    Feature,
    Model,
    ModelDetails,
    Ref,
    Signature,
    Version,
)


def list_models(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="Only names that start with this.")] = "",
    *,
    source: Annotated[str, typer.Option("--source", help="Only models of this clone URL.")] = "",
    as_json: JsonOption = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """List the models and their refs (* is the default one)."""
    with connected(context, server, timeout) as client:
        models = list(client.list(prefix, source=source))
    if as_json:
        screen.print_json(models)
    elif not models:
        screen.remark("no models; `pushserve register SOURCE` takes one live")
    else:
        titles = ("MODEL", "REF", "VERSION", "COMMIT", "UPDATED", "SOURCE")
        rows = [_model_row(m, ref) for m in models for ref in m.refs or (None,)]
        screen.table(titles, rows)


def _model_row(model: Model, ref: Optional[Ref]) -> tuple[object, ...]:
    source = f"{model.source} {model.path}".strip()
    if ref is None:
        return model.name, "", "", "", "", source
    default = "*" if ref.name == model.default_ref else ""
    version = f"{ref.version} pinned" if ref.pinned else ref.version
    name = screen.short_ref(ref.name) + default
    return model.name, name, version, ref.commit[:10], screen.moment(ref.update_time), source


def get(
    context: typer.Context,
    model: ModelArgument,
    *,
    ref: RefOption = None,
    version: VersionOption = None,
    commit: CommitOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show a model: its refs and versions, and what it takes and gives."""
    only_one(ref=ref, version=version, commit=commit)
    with connected(context, server, timeout) as client:
        details = client.get(model, ref=ref, version=version, commit=commit)
    if as_json:
        screen.print_json(details)
    else:
        _print_details(details)


def _print_details(details: ModelDetails) -> None:
    model, version = details.model, details.version
    screen.say(f"{model.name}  {model.source} {model.path}".strip(), style="bold")
    screen.say()
    titles = ("REF", "VERSION", "COMMIT", "UPDATED")
    screen.table(titles, [_model_row(model, ref)[1:5] for ref in model.refs])
    screen.say()
    screen.say(f"version {version.number} (commit {version.commit[:10]}, {version.format})")
    reason = f": {version.engine_reason}" if version.engine_reason else ""
    screen.say(f"engine {version.engine}{reason}")
    _print_signature(version.signature)
    screen.say()
    versions = ("VERSION", "COMMIT", "ENGINE", "FORMAT", "EXAMPLES", "SIZE", "BUILT")
    screen.table(versions, [_version_row(v) for v in details.versions])


def _print_signature(signature: Signature) -> None:
    screen.say()
    if not signature.inputs:
        screen.say("takes any JSON object")
    else:
        titles = ("INPUT", "TYPE", "NULL", "ONLY")
        rows = [
            (f.name, _type(f), "yes" if f.nullable else "no", ", ".join(f.categories))
            for f in signature.inputs
        ]
        screen.table(titles, rows)
    if signature.outputs:
        screen.say()
        outputs = [
            (o.name, o.dtype, o.columns or "", ", ".join(o.classes), "yes" if o.by_default else "")
            for o in signature.outputs
        ]
        screen.table(("OUTPUT", "TYPE", "COLUMNS", "CLASSES", "DEFAULT"), outputs)


def _type(feature: Feature) -> str:
    """Name what a feature takes: its type where that is known."""
    return _OPEN_TYPES.get(feature.accepts, feature.dtype)


_OPEN_TYPES: Final = {
    Accepts.NUMBERS: "numbers, as sent",
    Accepts.ANYTHING: "anything, as sent",
    Accepts.UNUSED: "anything (not used)",
}


def _version_row(version: Version) -> tuple[object, ...]:
    return (
        version.number,
        version.commit[:10],
        version.engine,
        version.format,
        version.examples_checked,
        f"{version.size_bytes / 1024:,.0f} KiB",
        screen.moment(version.create_time),
    )


def info(
    context: typer.Context,
    *,
    as_json: JsonOption = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show what the server runs on: what a model has to be saved with."""
    with connected(context, server, timeout) as client:
        found = client.info()
    if as_json:
        screen.print_json(found)
        return
    rows = [("server", target_of(context, server)), ("pushserve", found.version)]
    screen.table(("WHAT", "VERSION"), [*rows, ("Python", found.python), *found.packages.items()])


def deployments(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--source", help="Only of this repository.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only of this model.")] = "",
    ref: Annotated[str, typer.Option("--ref", help="Only of this branch or tag.")] = "",
    state: Annotated[
        Optional[DeploymentState],
        typer.Option("--state", case_sensitive=False, help="Only in this state."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """List deployments, newest first."""
    with connected(context, server, timeout) as client:
        pages = client.deployments(
            source=source, model=model, ref=ref, state=state, page_size=min(limit, 1000)
        )
        found = list(itertools.islice(pages, limit))
    if as_json:
        screen.print_json(found)
    elif not found:
        screen.remark("no deployments")
    else:
        titles = ("DEPLOYMENT", "MODEL", "REF", "COMMIT", "STATE", "CREATED", "MESSAGE")
        screen.table(titles, [_deployment_row(one) for one in found])


def _deployment_row(one: Deployment) -> tuple[object, ...]:
    failure = one.failure
    message = f"{failure.reason}: {failure.message}" if failure else one.message
    ref, created = screen.short_ref(one.ref), screen.moment(one.create_time)
    # One that failed before its model had a name is told by its repository.
    model = one.model or f"({one.source.rpartition('/')[2].removesuffix('.git')})"
    return one.name, model, ref, one.commit[:10], one.state, created, message


def deployment(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Until it has ended.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show one deployment, stage by stage."""
    with connected(context, server, timeout) as client:
        if follow and not as_json:
            follow_to_the_end(
                client, name, target_of(context, server), timeout_of(context, timeout)
            )
            return
        found = client.get_deployment(name)
    if as_json:
        screen.print_json(found)
    else:
        _print_deployment(found)


def _print_deployment(found: Deployment) -> None:
    screen.say(f"deployment {found.name}", style="bold")
    screen.say(f"{found.source} {found.path} {found.ref} {found.commit}")
    for line in stage_lines(found):
        screen.say(line)
    version = f", {found.model} version {found.version}" if found.version else ""
    message = f": {found.message}" if found.message else ""
    screen.say(f"{found.state}{version}{message}")
    if found.failure:
        print_failure(found)
