"""Tokens that callers show, by what is kept of them: a digest, never the token."""

from __future__ import annotations

from typing import Any

from peewee import SqliteDatabase


def up(_migrator: object, db: Any) -> None:
    """Add the table. `scopes` and `models` are JSON lists; times are microseconds since 1970."""
    text = "TEXT" if isinstance(db, SqliteDatabase) else 'TEXT COLLATE "C"'
    db.execute_sql(
        "CREATE TABLE tokens ("
        f"id {text} PRIMARY KEY, name {text} NOT NULL, digest {text} NOT NULL, "
        f"scopes {text} NOT NULL, models {text} NOT NULL, created_at BIGINT NOT NULL, "
        "expires_at BIGINT, revoked_at BIGINT, last_used_at BIGINT)"
    )
