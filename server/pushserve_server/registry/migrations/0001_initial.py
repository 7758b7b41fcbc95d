"""The first schema. Frozen: what comes later is another file."""

from __future__ import annotations

from typing import Any

from peewee import (
    SQL,
    AutoField,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Database,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
)


def up(_migrator: object, db: Database) -> None:
    """Make every table."""
    sqlite = isinstance(db, SqliteDatabase)

    def identity() -> AutoField[int]:
        # Without AUTOINCREMENT SQLite gives the id of a deleted row away again, and
        # frontends know versions by their ids.
        return AutoField(constraints=[SQL("AUTOINCREMENT")] if sqlite else None)

    def text(**options: Any) -> TextField[str]:
        # Byte order on both databases, so that pages are cut alike.
        return TextField(collation=None if sqlite else '"C"', **options)

    class Base(Model):
        class Meta:
            database = db

    class Source(Base):
        id = identity()
        url = text(unique=True)
        default_branch = text()

        class Meta:
            table_name = "sources"

    class ModelTable(Base):
        id = identity()
        name = text(unique=True)
        source = ForeignKeyField(Source)
        path = text()
        default_ref = text()
        created_at = BigIntegerField()

        class Meta:
            table_name = "models"
            indexes = ((("source", "path"), True),)

    class Version(Base):
        id = identity()
        model = ForeignKeyField(ModelTable, index=False)
        number = IntegerField()
        commit = text()
        engine = text()
        digest = text()
        signature = text()
        report = text()
        created_at = BigIntegerField()

        class Meta:
            table_name = "versions"
            indexes = ((("model", "number"), True), (("model", "commit"), True))

    class Deployment(Base):
        id = identity()
        name = text(unique=True)
        source = text()
        path = text()
        ref = text()
        commit = text()
        model = text()
        # Plain numbers: a deployment outlives its version.
        version_id = IntegerField()
        version = IntegerField()
        state = text()
        message = text()
        failure_reason = text()
        failure_step = text()
        failure_message = text()
        failure_fix = text()
        superseded_by = text()
        forgotten = BooleanField()
        owner = text()
        lease_until = BigIntegerField()
        attempt = IntegerField()
        created_at = BigIntegerField()
        updated_at = BigIntegerField()

        class Meta:
            table_name = "deployments"
            indexes = (
                (("source", "path", "ref", "id"), False),
                (("model", "id"), False),
                (("state", "id"), False),
            )

    class Ref(Base):
        id = identity()
        model = ForeignKeyField(ModelTable, index=False)
        name = text()
        version = ForeignKeyField(Version)
        pinned = ForeignKeyField(Version, null=True)
        deployment = ForeignKeyField(Deployment)
        updated_at = BigIntegerField()

        class Meta:
            table_name = "refs"
            indexes = ((("model", "name"), True),)

    class Event(Base):
        id = identity()
        deployment = ForeignKeyField(Deployment)
        state = text()
        message = text()
        at = BigIntegerField()

        class Meta:
            table_name = "deployment_events"

    class Frontend(Base):
        id = text(primary_key=True)
        replica = text(index=True)
        generation = IntegerField()
        heartbeat_at = BigIntegerField()

        class Meta:
            table_name = "frontends"

    class Load(Base):
        frontend_id = text()
        version_id = IntegerField(index=True)
        error = text(null=True)

        class Meta:
            table_name = "loads"
            primary_key = CompositeKey("frontend_id", "version_id")

    class Demand(Base):
        version = ForeignKeyField(Version, primary_key=True, on_delete="CASCADE")
        called_at = BigIntegerField()

        class Meta:
            table_name = "demands"

    class Counter(Base):
        id = IntegerField(primary_key=True)
        generation = IntegerField()

        class Meta:
            table_name = "counter"

    db.create_tables(
        [Source, ModelTable, Version, Deployment, Ref, Event, Frontend, Load, Demand, Counter],
        safe=False,
    )
    Counter.insert(id=1, generation=0).execute()
