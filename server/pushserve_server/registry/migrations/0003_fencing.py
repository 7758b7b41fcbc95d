"""Leases by attempt and one clock, back-off of automatic deployments, versions by their folder."""

from __future__ import annotations

from typing import Any

from peewee import SqliteDatabase


def up(_migrator: object, db: Any) -> None:
    """Add the columns and the table."""
    # Byte order on both databases, as in the first migration.
    text = "TEXT" if isinstance(db, SqliteDatabase) else 'TEXT COLLATE "C"'
    for statement in (
        "ALTER TABLE deployments ADD COLUMN leased_at BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE deployments ADD COLUMN moved_generation INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE deployments ADD COLUMN automatic BOOLEAN NOT NULL DEFAULT FALSE",
        "ALTER TABLE deployments ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE deployments ADD COLUMN retry_at BIGINT NOT NULL DEFAULT 0",
        f"ALTER TABLE versions ADD COLUMN build_key {text} NOT NULL DEFAULT ''",
        "CREATE INDEX versions_model_id_build_key ON versions (model_id, build_key)",
        f"CREATE TABLE clock (id INTEGER PRIMARY KEY, boot {text} NOT NULL, ahead BIGINT NOT NULL)",
    ):
        db.execute_sql(statement)
