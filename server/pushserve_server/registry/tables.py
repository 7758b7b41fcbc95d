"""Tables as Peewee sees them, bound to one database for each `Database`.

The schema itself, with its keys, indexes and constraints, is made by `migrations/`. Here
keys to other tables are plain numbers: what leaves this package are records, never rows.
Empty text and 0 stand for "not known".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from peewee import (
    AutoField,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Database,
    Field,
    IntegerField,
    Model,
    TextField,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


if TYPE_CHECKING:
    _DatetimeField = Field[datetime]
else:
    # Generic in its stubs alone.
    _DatetimeField = Field


class TimeField(_DatetimeField):
    """An aware datetime, held as microseconds since 1970: exact, and sorted as a number."""

    field_type = "BIGINT"

    def db_value(self, value: datetime | None) -> int | None:
        """Give the microseconds; a naive datetime is a TypeError."""
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def python_value(self, value: int | None) -> datetime | None:
        """Give the time in UTC."""
        return None if value is None else EPOCH + value * _MICROSECOND


class SourceRow(Model):
    """A Git repository. `default_branch` is a full ref, or empty."""

    id = AutoField()
    url = TextField()
    default_branch = TextField()


class ModelRow(Model):
    """A model. `default_ref` is the ref that it was made from, then its source's default branch.

    That is noted when it is first served.
    """

    id = AutoField()
    name = TextField()
    source_id = IntegerField()
    path = TextField()
    default_ref = TextField()
    created_at = TimeField()


class VersionRow(Model):
    """A version. `signature` and `report` are JSON.

    `build_key` says what its bundle was made of; it is empty where that is not known.
    """

    id = AutoField()
    model_id = IntegerField()
    number = IntegerField()
    commit = TextField()
    engine = TextField()
    digest = TextField()
    signature = TextField()
    report = TextField()
    build_key = TextField(default="")
    created_at = TimeField()


class RefRow(Model):
    """A ref of a model. `deployment_id` is the deployment that last moved it."""

    id = AutoField()
    model_id = IntegerField()
    name = TextField()
    version_id = IntegerField()
    pinned_id = IntegerField(null=True)
    deployment_id = IntegerField()
    updated_at = TimeField()


class DeploymentRow(Model):
    """A deployment.

    `forgotten` says that its ref or model was deleted since: it is history, and no reason
    to do nothing when the same commit is registered again.

    `leased_at`, `lease_until` and `retry_at` are by the registry's own clock (`clock.py`), and
    1970 while nobody has taken it. `moved_generation` is the generation by which the ref has
    moved, 0 before. `automatic` says that no person or push asked for it, but the reconciler.
    `failures` counts in how many deployments in a row the remote has failed; before `retry_at`
    no automatic one follows.
    """

    id = AutoField()
    name = TextField()
    source = TextField()
    path = TextField()
    ref = TextField()
    commit = TextField()
    model = TextField()
    version_id = IntegerField(default=0)
    version = IntegerField(default=0)
    state = TextField()
    message = TextField()
    failure_reason = TextField(default="")
    failure_step = TextField(default="")
    failure_message = TextField(default="")
    failure_fix = TextField(default="")
    superseded_by = TextField(default="")
    forgotten = BooleanField(default=False)
    owner = TextField(default="")
    leased_at = TimeField(default=EPOCH)
    lease_until = TimeField(default=EPOCH)
    attempt = IntegerField(default=0)
    moved_generation = IntegerField(default=0)
    automatic = BooleanField(default=False)
    failures = IntegerField(default=0)
    retry_at = TimeField(default=EPOCH)
    created_at = TimeField()
    updated_at = TimeField()


class EventRow(Model):
    """One change of a deployment."""

    id = AutoField()
    deployment_id = IntegerField()
    state = TextField()
    message = TextField()
    at = TimeField()


class FrontendRow(Model):
    """A process that answers gRPC, and the generation that it serves by."""

    id = TextField(primary_key=True)
    replica = TextField()
    generation = IntegerField()
    heartbeat_at = TimeField()


class LoadRow(Model):
    """That a frontend has loaded a version, or why it could not."""

    frontend_id = TextField()
    version_id = IntegerField()
    error = TextField(null=True)

    class Meta:
        """Peewee's options."""

        primary_key = CompositeKey("frontend_id", "version_id")


class KeepAliveRow(Model):
    """That calls need a version, and when the last one came; `by_ref`: while a ref points to it."""

    version_id = IntegerField(primary_key=True)
    called_at = TimeField()
    by_ref = BooleanField(default=False)


class TokenRow(Model):
    """A token that callers show: `digest` is its SHA-256 (hex); `scopes`, `models` JSON lists."""

    id = TextField(primary_key=True)
    name = TextField()
    digest = TextField()
    scopes = TextField()
    models = TextField()
    created_at = TimeField()
    expires_at = TimeField(null=True)
    revoked_at = TimeField(null=True)
    last_used_at = TimeField(null=True)


class CounterRow(Model):
    """The one row (id 1) that counts what matters to whoever serves."""

    id = IntegerField(primary_key=True)
    generation = IntegerField()


class ClockRow(Model):
    """The one row (id 1) that sets an SQLite registry's clock.

    In the boot of that name it is `ahead` microseconds ahead of the kernel's monotonic clock.
    """

    id = IntegerField(primary_key=True)
    boot = TextField()
    ahead = BigIntegerField()


def tuples(query: Any) -> list[tuple[Any, ...]]:
    """Run a query for plain values, which its type does not know."""
    return list(query.tuples())


_M = TypeVar("_M", bound=Model)


def _bound(row: type[_M], name: str, database: Database) -> type[_M]:
    """Give the row class of one database; Peewee would bind a class once for the process."""
    options: dict[str, Any] = {"database": database, "table_name": name}
    bound: type[_M] = type(row.__name__, (row,), {"Meta": type("Meta", (), options)})
    return bound


class Tables:
    """Every table of one database."""

    def __init__(self, database: Database) -> None:
        self.sources = _bound(SourceRow, "sources", database)
        self.models = _bound(ModelRow, "models", database)
        self.versions = _bound(VersionRow, "versions", database)
        self.refs = _bound(RefRow, "refs", database)
        self.deployments = _bound(DeploymentRow, "deployments", database)
        self.events = _bound(EventRow, "deployment_events", database)
        self.frontends = _bound(FrontendRow, "frontends", database)
        self.loads = _bound(LoadRow, "loads", database)
        self.keep_alives = _bound(KeepAliveRow, "demands", database)
        self.tokens = _bound(TokenRow, "tokens", database)
        self.counter = _bound(CounterRow, "counter", database)
        self.clock = _bound(ClockRow, "clock", database)
