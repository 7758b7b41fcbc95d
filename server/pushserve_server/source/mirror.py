"""Mirrors: local bare repositories that hold what was fetched, one folder for each remote.

    <cache>/<key>.lock      held by whoever fetches, in any process
    <cache>/<key>/<number>  a bare repository; the highest number is the one in use

A mirror that is broken or has grown too large (in bytes or files) is not mended: the next
number begins empty, and older ones are deleted when nobody reads them any more. All of it may
be deleted at any time while no server runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from pushserve_server.source.command import Budget, run_git

_BROKEN: Final = "pushserve-broken"
_IN_USE: Final = "pushserve-in-use"
_MOST_FILES: Final = 1000
"""Each fetch looks at all of them: after 500 small commits (2,000 files) it took twice as long."""


class Mirror:
    """One bare repository, kept from deletion until `close()`."""

    def __init__(self, git_dir: Path) -> None:
        self._in_use = -1  # for close(), should opening fail
        self.git_dir = git_dir
        self._in_use = os.open(git_dir / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def mark_broken(self) -> None:
        """Let the next fetch begin with an empty one."""
        (self.git_dir / _BROKEN).touch()

    def has_cut_pack(self, size: int) -> bool:
        """Whether a fetch was ended because its pack reached `size` bytes."""
        packs = (self.git_dir / "objects" / "pack").glob("tmp_pack_*")
        return any(pack.stat().st_size >= size for pack in packs)

    def close(self) -> None:
        """Let it be deleted. May be called again."""
        if self._in_use >= 0:
            os.close(self._in_use)
            self._in_use = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def mirror_key(url: str, purpose: str) -> str:
    """The folder of a remote's mirrors for one purpose."""
    return hashlib.sha256(f"{url}\n{purpose}".encode()).hexdigest()


@contextlib.contextmanager
def locked_folder(cache_dir: Path, key: str, budget: Budget) -> Iterator[Path]:
    """The folder of a remote's mirrors, while no other thread or process fetches into it.

    Raises:
        OutOfTime, Cancelled: before the lock was free.
    """
    folder = cache_dir / key
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(cache_dir / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(lock):
            budget.pause()
        os.utime(lock)  # for remove_unused
        yield folder
    finally:
        os.close(lock)


def open_newest(folder: Path, max_size: int) -> Mirror | None:
    """The mirror in use, unless it is broken, or has too many files or more than `max_size` bytes.

    Needs the lock.
    """
    numbers = _numbers(folder)
    if not numbers:
        return None
    git_dir = folder / str(numbers[-1])
    if (git_dir / _BROKEN).exists() or not (git_dir / "HEAD").exists():
        return None
    _remove_leftovers(git_dir)
    sizes = _sizes(git_dir)
    return Mirror(git_dir) if sum(sizes) <= max_size and len(sizes) <= _MOST_FILES else None


def open_new(folder: Path, url: str, budget: Budget) -> Mirror:
    """Begin an empty mirror of `url` (canonical) and delete those nobody reads. Needs the lock.

    Raises:
        GitFailed, OutOfTime, Cancelled: it could not be made.
    """
    numbers = _numbers(folder)
    for number in numbers:
        _remove_if_unread(folder / str(number))
    git_dir = folder / str(numbers[-1] + 1 if numbers else 1)
    run_git(["init", "--quiet", "--bare", "--template=", "--", str(git_dir)], budget)
    with (git_dir / "config").open("a") as config:
        config.write(f'[remote "origin"]\n\turl = "{url}"\n')
    return Mirror(git_dir)


def remove_unused(cache_dir: Path, unused_for: float) -> None:
    """Delete the mirrors of remotes that nothing was fetched from for so many seconds."""
    for lock_file in cache_dir.glob("*.lock"):
        lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            if time.time() - os.fstat(lock).st_mtime >= unused_for and _try_lock(lock):
                folder = lock_file.with_suffix("")
                for number in _numbers(folder):
                    _remove_if_unread(folder / str(number))
        finally:
            os.close(lock)


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_unread(git_dir: Path) -> None:
    in_use = os.open(git_dir / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _try_lock(in_use):
            shutil.rmtree(git_dir)
    finally:
        os.close(in_use)


def _remove_leftovers(git_dir: Path) -> None:
    # Of a fetch that was killed. Nobody else writes here: the caller holds the lock.
    for pattern in ("*.lock", "refs/**/*.lock", "objects/**/tmp_*"):
        for leftover in git_dir.glob(pattern):
            leftover.unlink(missing_ok=True)


def _sizes(git_dir: Path) -> list[int]:
    """Give the size of every file that holds objects, or one object."""
    return [file.stat().st_size for file in (git_dir / "objects").rglob("*") if file.is_file()]
