"""Types of what the server says. Times are aware UTC datetimes, or None where not given."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class TextEnum(str, enum.Enum):
    """An enum whose members are texts, as `enum.StrEnum` is from Python 3.11 on."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)


class DeploymentState(TextEnum):
    """How far a deployment has come, in the order in which it goes."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    FETCHING = "FETCHING"
    CHECKING = "CHECKING"
    BUILDING = "BUILDING"
    LOADING = "LOADING"
    ACTIVATING = "ACTIVATING"
    READY = "READY"
    FAILED = "FAILED"
    SUPERSEDED = "SUPERSEDED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in (self.READY, self.FAILED, self.SUPERSEDED)


class Engine(TextEnum):
    """What runs a version."""

    UNSPECIFIED = "unspecified"
    ONNX = "onnx"
    WORKER = "worker"


class DataType(TextEnum):
    """Type of one value; `JSON` is anything, as a `predict.py` takes it."""

    UNSPECIFIED = "unspecified"
    FLOAT64 = "float64"
    FLOAT32 = "float32"
    INT64 = "int64"
    INT32 = "int32"
    BOOL = "bool"
    STRING = "string"
    JSON = "json"


class Accepts(TextEnum):
    """Which values a feature takes: how far its type is known.

    `DTYPE`: values of its type. `NUMBERS`, `ANYTHING`: what is sent reaches the model as it is.
    `UNUSED`: anything or nothing, the model does not use it.
    """

    UNSPECIFIED = "unspecified"
    DTYPE = "dtype"
    NUMBERS = "numbers"
    ANYTHING = "anything"
    UNUSED = "unused"


@dataclass(frozen=True)
class Failure:
    """Why a deployment failed: stable reason, the step, what is wrong, what to change."""

    reason: str
    step: DeploymentState
    message: str
    fix: str


@dataclass(frozen=True)
class DeploymentEvent:
    """One change of a deployment: its state from then on."""

    state: DeploymentState
    message: str
    time: datetime | None


@dataclass(frozen=True)
class Deployment:
    """One try at taking a ref's commit live.

    `ref` is "" for a bare commit; `commit`, `model` and `version` (0) stay empty until
    they are known. `failure` is set in state FAILED, `superseded_by` in SUPERSEDED.
    """

    name: str
    source: str
    path: str
    ref: str
    commit: str
    model: str
    version: int
    state: DeploymentState
    message: str
    failure: Failure | None
    superseded_by: str
    events: tuple[DeploymentEvent, ...]
    create_time: datetime | None
    update_time: datetime | None


@dataclass(frozen=True)
class Ref:
    """A branch or tag as an endpoint; `latest_version` differs from `version` while pinned."""

    name: str
    version: int
    commit: str
    pinned: bool
    latest_version: int
    update_time: datetime | None


@dataclass(frozen=True)
class Model:
    """A named, served thing: one folder of one repository."""

    name: str
    source: str
    path: str
    refs: tuple[Ref, ...]
    default_ref: str
    create_time: datetime | None


@dataclass(frozen=True)
class Feature:
    """One input of a model; `categories`, if any, are the only values allowed.

    `dtype` is only a default unless `accepts` is DTYPE.
    """

    name: str
    dtype: DataType
    nullable: bool
    categories: tuple[str, ...]
    accepts: Accepts = Accepts.DTYPE


@dataclass(frozen=True)
class OutputSpec:
    """One output that a model can give; `columns` is 0 for one plain value a row."""

    name: str
    dtype: DataType
    columns: int
    classes: tuple[str, ...]
    by_default: bool


@dataclass(frozen=True)
class Signature:
    """What a version takes and gives; no `inputs` means any JSON object."""

    inputs: tuple[Feature, ...]
    outputs: tuple[OutputSpec, ...]


@dataclass(frozen=True)
class Version:
    """What one commit was built to. It never changes."""

    number: int
    commit: str
    engine: Engine
    engine_reason: str
    signature: Signature
    format: str
    digest: str
    size_bytes: int
    examples_checked: int
    create_time: datetime | None


@dataclass(frozen=True)
class ModelDetails:
    """A model with the version that was asked for and its newest versions, newest first."""

    model: Model
    version: Version
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class ServerInfo:
    """What a server runs on: versions of pushserve, of Python, and of packages by name."""

    version: str
    python: str
    packages: dict[str, str]
