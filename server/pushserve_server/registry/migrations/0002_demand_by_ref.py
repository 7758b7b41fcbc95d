"""Tell the demands that count while a ref leads to their version from those that expire."""

from __future__ import annotations

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Add the column."""
    db.execute_sql("ALTER TABLE demands ADD COLUMN by_ref BOOLEAN NOT NULL DEFAULT FALSE")
