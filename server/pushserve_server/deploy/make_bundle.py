"""Bundle making: from a commit to a bundle on disk, for new versions and for lost bundles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, TypeVar

from pushserve_server.build.contract import ModelFiles
from pushserve_server.deploy.builder import Builder, SourceLocation, StoredBundle
from pushserve_server.domain.records import Version
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import DeploymentFailed
from pushserve_server.registry import Registry

T = TypeVar("T")


class Steps(Protocol):
    """How whoever builds goes from step to step: a deployment, or the repair of a lost bundle."""

    cancelled: threading.Event

    def persist(self, ask: Callable[[], T]) -> T:
        """Do what needs the remote."""

    def outlast(self, work: Callable[[], T]) -> T:
        """Do what needs the sandbox."""

    def build_slot(self) -> AbstractContextManager[None]:
        """Hold one of the slots of those who build."""

    def advance(self, state: DeploymentState, message: str, *, model: str | None = None) -> None:
        """Come to a state."""

    def note(self, message: str) -> None:
        """Say how far it has come in it."""


def make_bundle(
    steps: Steps,
    builder: Builder,
    location: SourceLocation,
    plan: Callable[[ModelFiles], tuple[str, ModelFiles]],
    log_as: Mapping[str, object],
) -> tuple[str, StoredBundle]:
    """Fetch, check and build; `plan` names the model and may change what is built.

    Returns the model's name and the bundle.

    Raises:
        DeploymentFailed: the commit cannot be fetched or does not pass its gate.
        Unavailable: the sandbox cannot be reached.
    """
    with builder.workplace() as workplace:
        files = steps.persist(lambda: builder.fetch(location, workplace, steps.cancelled))
        message = f"fetched {len(files.names)} files, {files.size} bytes"
        steps.advance(DeploymentState.CHECKING, message)
        name, model_files = plan(builder.check(location, files))
        what = model_files.format if model_files.predict_py else model_files.artifact
        with steps.build_slot():
            message = f"trying {what} in the sandbox"
            steps.advance(DeploymentState.BUILDING, message, model=name)
            log_as = {"model": name, **log_as}
            bundle = steps.outlast(
                lambda: builder.build(files, model_files, steps.cancelled, steps.note, log_as)
            )
    return name, bundle


def rebuild(
    steps: Steps,
    builder: Builder,
    registry: Registry,
    version: Version,
    log_as: Mapping[str, object],
) -> None:
    """Build the bundle of a version that was lost again, from the same commit.

    Versions never change, and whoever serves has read this one's row: only a bundle for the same
    engine, with the same signature, may take the place of the one that was lost.

    Raises:
        DeploymentFailed: REBUILD_DIFFERS, or as `make_bundle`.
        NotFound: the version was deleted.
        Unavailable: as `make_bundle`.
    """
    model = registry.get_model(version.model)
    location = SourceLocation(model.source, model.path, version.commit)

    def plan(found: ModelFiles) -> tuple[str, ModelFiles]:
        return version.model, replace(found, engine=str(version.engine))

    _, bundle = make_bundle(steps, builder, location, plan, log_as)
    differs = _difference(version, bundle)
    if differs:
        raise DeploymentFailed(
            "REBUILD_DIFFERS",
            f"the bundle of version {version.number} was lost, and building its commit again "
            f"gives another model: {differs}",
            "Push a new commit: it is built to a version of its own, by what the server has now.",
        )
    registry.replace_bundle(version.id, bundle.digest, bundle.report, build_key=bundle.build_key)


def _difference(version: Version, bundle: StoredBundle) -> str:
    """Say in what a bundle is not the version's; "" for the same."""
    if bundle.engine is not version.engine:
        return f"it was run by {version.engine}, and would be by {bundle.engine}"
    before, after = version.signature.to_json(), bundle.signature.to_json()
    # As texts: NaN, which may be a category, equals nothing.
    changed = [key for key in before if json.dumps(before[key]) != json.dumps(after.get(key))]
    return f"its signature differs in its {' and '.join(changed)}" if changed else ""
