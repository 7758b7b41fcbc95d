"""Job policy: what one job may use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.forking import ONE_THREAD

NOBODY: Final = 65534
NICEST: Final = 19


@dataclass(frozen=True, slots=True)
class Policy:
    """Files and resources of one job. Paths are absolute.

    `read` and `write` are files, or folders with all that is below them; the first of
    `write` is the job's HOME and TMPDIR. `directory` is where it starts (else in the first
    of `write`). `memory` is how many bytes its address space may grow by; `cpu_seconds` ends
    it by SIGXCPU; `file_size` bounds each file that it writes, in bytes. None is unlimited.
    `user` is the uid and gid that it changes to where the zygote is root. `nice` is added
    to the zygote's nice value: its share of the processor among jobs (see `nice_of`).
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory: int | None = None
    cpu_seconds: float | None = None
    file_size: int | None = None
    directory: Path | None = None
    user: int = NOBODY
    nice: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {
            "read": [str(path) for path in self.read],
            "write": [str(path) for path in self.write],
            "memory": self.memory,
            "cpu_seconds": self.cpu_seconds,
            "file_size": self.file_size,
            "directory": str(self.directory) if self.directory else None,
            "user": self.user,
            "nice": self.nice,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """Build it from what `to_json` gave; keys that are absent have their defaults.

        Raises:
            ValueError: a key is unknown, a path is not absolute, or a number is not one.
        """
        unknown = sorted(set(data) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError("a policy has no " + ", ".join(unknown))
        directory = data.get("directory")
        seconds = data.get("cpu_seconds")
        return cls(
            read=_paths(data, "read"),
            write=_paths(data, "write"),
            memory=_size(data, "memory"),
            cpu_seconds=None if seconds is None else float(seconds),
            file_size=_size(data, "file_size"),
            directory=None if directory is None else _path(directory),
            user=_user(data.get("user", NOBODY)),
            nice=_nice(data.get("nice", 0)),
        )


def _paths(data: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key} is a list of paths")  # noqa: TRY004 — of a message, not of a caller
    return tuple(_path(item) for item in value)


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"expected an absolute path; this is {value!r}")
    return Path(value)


def _size(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    if value is not None and (not isinstance(value, int) or value < 0):
        raise ValueError(f"{key} is a number of bytes; this is {value!r}")
    return value


def _user(value: object) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"user is a uid above 0; this is {value!r}")
    return value


def _nice(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= NICEST:
        raise ValueError(f"nice is a number from 0 to {NICEST}; this is {value!r}")
    return value


def nice_of(processes: int) -> int:
    """Give the nice value of each process where a model has so many: together they are one."""
    # Each step takes a fifth of the share.
    return min(round(math.log(processes, 1.25)), NICEST)


def job_environment() -> dict[str, str]:
    """Give the whole environment of the zygote and, with HOME and TMPDIR, of its jobs."""
    return {
        "LANG": "C.UTF-8",
        **ONE_THREAD,
        # n_jobs=-1 then is 1, and nobody runs lscpu.
        "LOKY_MAX_CPU_COUNT": "1",
    }
