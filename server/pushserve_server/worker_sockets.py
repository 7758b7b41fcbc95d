"""Worker sockets: where a version's workers listen; one folder, with a socket for each process.

    workers/<version id>/0.sock, 1.sock, …    and <n>.why, while that process is to be killed,
                                              <n>.before, while the next one starts
                         unloadable           why no process can load the model

The supervisor makes the folder with all that is in it, and frontends connect. Whichever process
finds that a worker hangs or lies leaves a note: the supervisor kills what has one, and frontends
learn from it why a connection broke. Those that wait for one read in another note why there will
be none.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HUNG: Final = "WORKER_HUNG"
BROKEN: Final = "WORKER_BROKEN"
_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a worker is to be killed: HUNG or BROKEN, and what it did, in words."""

    reason: str
    what: str


def socket_name(number: int) -> str:
    """Give the name of a process's socket."""
    return f"{number}.sock"


def sockets_in(folder: Path) -> list[Path]:
    """Give the sockets of a version's workers; none while the supervisor has not made them."""
    return sorted(folder.glob("*.sock"), key=lambda path: int(path.stem))


def complain(socket: Path, complaint: Complaint) -> None:
    """Have the process behind a socket killed. Without its folder it is being stopped anyway."""
    with suppress(OSError):
        _leave(_note(socket), f"{complaint.reason} {complaint.what}")


def complaint_of(socket: Path) -> Complaint | None:
    """Give the complaint about the process that listens there, where there is one."""
    return _read(_note(socket))


def why_gone(socket: Path) -> Complaint | None:
    """Likewise, or about the one before while this one starts."""
    return _read(_note(socket)) or _read(_note_before(socket))


def begin_anew(socket: Path) -> None:
    """Say that another process is started there."""
    if _note(socket).exists():
        _note(socket).rename(_note_before(socket))


def forget_the_one_before(socket: Path) -> None:
    """Say that it has started."""
    _note_before(socket).unlink(missing_ok=True)


def say_unloadable(folder: Path, why: str) -> None:
    """Say why a version's workers cannot load its model, where that is not said yet.

    Raises:
        OSError: the folder is gone, or the disk is full.
    """
    note = _unloadable(folder)
    if not note.exists():
        _leave(note, why)


def may_be_loadable(folder: Path) -> None:
    """Say it no longer."""
    _unloadable(folder).unlink(missing_ok=True)


def why_unloadable(folder: Path) -> str:
    """Read it; "" where nothing is said."""
    try:
        return _unloadable(folder).read_text(errors="replace")[:_LIMIT]
    except OSError:
        return ""


def _unloadable(folder: Path) -> Path:
    return folder / "unloadable"


def _leave(note: Path, text: str) -> None:
    new = note.with_suffix(".new")
    new.write_text(text[:_LIMIT])
    new.rename(note)


def _read(note: Path) -> Complaint | None:
    try:
        reason, _, what = note.read_text().partition(" ")
    except OSError:
        return None
    return Complaint(reason, what)


def _note(socket: Path) -> Path:
    return socket.with_suffix(".why")


def _note_before(socket: Path) -> Path:
    return socket.with_suffix(".before")
