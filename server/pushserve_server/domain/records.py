"""Records: what the registry holds, as values. Times are aware UTC datetimes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pushserve_runtime.signature import Signature
from pushserve_server.domain.states import DeploymentState


class EngineName(enum.StrEnum):
    """What runs a version."""

    ONNX = "onnx"
    WORKER = "worker"


class Trust(enum.StrEnum):
    """How far the operator trusts a source."""

    DATA = "data"
    """Formats that run no code when they are loaded (`pushserve_runtime.job_spec.SAFE_FORMATS`)."""
    CODE = "code"
    """Every format."""


@dataclass(frozen=True, slots=True)
class Version:
    """What one commit of one model was built to.

    `digest` is the SHA-256 (hex) of its bundle. `report` holds engine_reason, format,
    size_bytes, examples_checked, sklearn version, timings.
    """

    id: int
    model: str
    number: int
    commit: str
    engine: EngineName
    digest: str
    signature: Signature
    report: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag as an endpoint. `version` is where Git has it, `pinned` where Pin has it."""

    name: str
    version: int
    commit: str
    pinned: int | None
    pinned_commit: str | None
    updated_at: datetime

    @property
    def effective(self) -> int:
        """Number of the version that answers."""
        return self.pinned if self.pinned is not None else self.version

    @property
    def effective_commit(self) -> str:
        """Commit of the version that answers."""
        return self.pinned_commit if self.pinned_commit is not None else self.commit


@dataclass(frozen=True, slots=True)
class Model:
    """A named, served thing: one folder of one source."""

    name: str
    source: str
    path: str
    default_ref: str
    refs: tuple[Ref, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a deployment failed: stable reason, the step, what is wrong, what to change."""

    reason: str
    step: DeploymentState
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a deployment."""

    state: DeploymentState
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Deployment:
    """One try at taking a ref's commit live.

    `model` is what was asked for, or the name once it is known (else ""). `ref` is the
    full name, or "" for a bare commit. `commit` is "" while unknown, and where the ref
    is gone. `attempt` counts how often a deployer has taken it. `moved_generation` is the
    registry's generation by which its ref has moved, 0 before. `failures` counts how often in a
    row the remote has failed for its ref, itself not counted before it ends so.
    """

    id: int
    name: str
    source: str
    path: str
    ref: str
    commit: str
    model: str
    version: int | None
    state: DeploymentState
    message: str
    failure: Failure | None
    superseded_by: str | None
    attempt: int
    moved_generation: int
    failures: int
    created_at: datetime
    updated_at: datetime
    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Route:
    """Where one ref of one model points: the id of the version that answers."""

    ref: str
    version_id: int


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """All that a frontend needs to address one model."""

    name: str
    default_ref: str
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What frontends and the supervisor serve by, read in one transaction.

    Versions stand here by their ids; they never change, so their rows are read once
    (`Registry.versions_by_id`). `referenced` are those that a ref or a pin points to: a call
    may come for them at any time. `deploying` are those of deployments in LOADING or
    ACTIVATING, which every frontend loads. `kept_alive` are those that calls needed lately:
    workers run for them. `generation` grows with every change that matters here.
    """

    generation: int
    models: tuple[ModelRoutes, ...]
    referenced: frozenset[int]
    deploying: frozenset[int]
    kept_alive: frozenset[int]

    @property
    def to_load(self) -> frozenset[int]:
        """Those to be loaded now, whatever else happens."""
        return self.deploying | self.kept_alive

    @property
    def in_use(self) -> frozenset[int]:
        """All of them: those whose bundles have to be on disk."""
        return self.referenced | self.deploying | self.kept_alive


@dataclass(frozen=True, slots=True)
class Tracked:
    """A folder of a source that is followed, with where its refs were last seen.

    `refs` maps full names to the commit of the newest deployment, else of the served
    version; "" where the ref was gone, or could not be resolved. `model` is "" while
    unknown, and `default_ref` where nothing answers calls that name no ref. `deleted` are
    refs that somebody had deleted here.
    """

    source: str
    path: str
    model: str
    refs: dict[str, str]
    default_ref: str = ""
    deleted: frozenset[str] = frozenset()
