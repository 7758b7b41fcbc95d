"""Worker notes: why the workers of a version cannot load its model: a note beside their socket.

The supervisor, which hears it from them, writes it; frontends, which wait for a connection, look
for it. It goes when a worker is ready, and when the version is to run no longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_LIMIT: Final = 4096


def say_why(note: Path, why: str) -> None:
    """Leave a note, where there is none yet.

    Raises:
        OSError: the folder is gone, or the disk is full.
    """
    if note.exists():
        return
    new = note.with_suffix(".new")
    new.write_text(why[:_LIMIT])
    new.rename(note)


def read_why(note: Path) -> str:
    """Read it; "" where there is none."""
    try:
        return note.read_text(errors="replace")[:_LIMIT]
    except OSError:
        return ""
