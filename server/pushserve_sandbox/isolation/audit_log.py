"""Audit log: the first forbidden thing of each kind that a job tried, to tell its user.

The kernel enforces; this only tells, and code that wants to hide from it can.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

Kind = Literal["network", "process", "file"]

_TEXT_LIMIT: Final = 300
_KINDS: Final[dict[str, Kind]] = {
    "socket.__new__": "network",
    "socket.bind": "network",
    "socket.connect": "network",
    "socket.getaddrinfo": "network",
    "socket.gethostbyname": "network",
    "socket.sendto": "network",
    "os.exec": "process",
    "os.fork": "process",
    "os.forkpty": "process",
    "os.kill": "process",
    "os.killpg": "process",
    "os.posix_spawn": "process",
    "os.system": "process",
    "subprocess.Popen": "process",
    "_thread.start_new_thread": "process",
    "open": "file",
    "os.chmod": "file",
    "os.chown": "file",
    "os.link": "file",
    "os.listdir": "file",
    "os.mkdir": "file",
    "os.remove": "file",
    "os.rename": "file",
    "os.rmdir": "file",
    "os.scandir": "file",
    "os.symlink": "file",
    "os.truncate": "file",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One forbidden thing that was tried: its kind, and the event with its argument."""

    kind: Kind
    what: str


_first: dict[Kind, Violation] = {}


def first_violation() -> Violation | None:
    """Give the first forbidden thing that this process tried since `watch`.

    A file comes last: libraries look for files that they can do without.
    """
    return min(_first.values(), key=lambda violation: violation.kind == "file", default=None)


def watch(allowed: Sequence[Path]) -> None:
    """Remember the first attempt at the network, at a process, or at a file not in `allowed`.

    It cannot be undone. An event of no interest costs one look into a dict.
    """
    roots = tuple(os.path.realpath(path) for path in allowed)
    sys.addaudithook(_hook(roots))


def _hook(roots: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    kind_of = _KINDS.get

    def note(event: str, args: tuple[Any, ...]) -> None:
        kind = kind_of(event)
        if kind is None or kind in _first:
            return
        if kind == "file":
            if not _is_outside(args, roots):
                return
        elif event == "socket.__new__" and _wraps_descriptor(sys._getframe(1)):  # noqa: SLF001 — the only way to the caller's frame
            return
        _first[kind] = Violation(kind, _describe(event, args))

    return note


def _is_outside(args: tuple[Any, ...], roots: tuple[str, ...]) -> bool:
    """Whether the first argument names something that exists and is below no root."""
    path = args[0] if args else None
    if not isinstance(path, str | bytes):
        return False
    full = os.path.realpath(os.fsdecode(path))
    if any(full == root or full.startswith(root + "/") for root in roots):
        return False
    # A look for a file that is not there is what libraries do.
    return os.path.lexists(full)


def _wraps_descriptor(frame: FrameType | None) -> bool:
    """Whether the new socket object is made from a descriptor, as `accept` does it."""
    return frame is not None and frame.f_locals.get("fileno") is not None


def _describe(event: str, args: tuple[Any, ...]) -> str:
    texts = [repr(arg) for arg in args if isinstance(arg, str | bytes | int | tuple | list)]
    return f"{event}({', '.join(texts)})"[:_TEXT_LIMIT]
