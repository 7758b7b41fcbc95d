"""Database drivers: which of them a process leaves out."""

from __future__ import annotations

import sys
from typing import Any, cast


def leave_out_unused(database: str) -> None:
    """Keep Peewee from importing a PostgreSQL driver for SQLite; call it before its import.

    `database` is its address, or the first word of that.

    It would cost each process 17 MB and a tenth of a second.
    """
    if database.startswith("sqlite"):
        for name in ("psycopg", "psycopg2"):
            if name not in sys.modules:
                # None there is Python's own way to say that a module is not to be had.
                sys.modules[name] = cast("Any", None)
