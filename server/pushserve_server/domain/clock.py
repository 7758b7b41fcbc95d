"""Clock: the time as the registry holds it. Who needs it takes it as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Give the time, aware, in UTC."""
    return datetime.now(UTC)
