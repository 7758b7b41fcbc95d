"""Run files: what a running server cannot do without: its run folder, its lock, its address.

Somebody may remove them meanwhile (a clean-up of /tmp, say). They are made again; sockets in
the run folder by those who listen on them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pushserve_server import data_layout
from pushserve_server.settings import ConfigError, Settings
from pushserve_server.unix_sockets import file_id

logger = logging.getLogger(__name__)

_RUN_ROOTS: Final = (Path("/tmp"), Path("/dev/shm"))  # noqa: S108 (mkdtemp makes names below)
"""The first that can be written: unix sockets need a short path."""
_RUN_PREFIX: Final = "pushserve-"


def keep_folder(path: Path) -> None:
    """Make a folder again where it is gone, for this user alone.

    Raises:
        OSError: it cannot be made, or is there and somebody else's.
    """
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        path.mkdir(mode=0o700)
        logger.warning("%s was removed; made it again", path)
        return
    if found.st_uid != os.geteuid() or not path.is_dir() or path.is_symlink():
        raise PermissionError(f"{path} was removed, and somebody else has made it")


class LockFile:
    """Holds a data directory for one server.

    Raises:
        ConfigError: another server has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._take()

    def _take(self) -> IO[str]:
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ConfigError(
                f"another server runs on data_dir {self._path.parent}; "
                "stop it, or give this one a data_dir of its own"
            ) from None
        return file

    def keep(self) -> None:
        """Take the lock again where its file was removed, so that no second server takes it.

        Raises:
            ConfigError: another one has, meanwhile.
            OSError: the file cannot be made.
        """
        held = os.fstat(self._file.fileno())
        if file_id(self._path) == (held.st_dev, held.st_ino):
            return
        file = self._take()
        self._file.close()
        self._file = file
        logger.warning("%s was removed; made it again", self._path)

    def close(self) -> None:
        """Let it go."""
        self._file.close()


def announce(settings: Settings, address: str, run_dir: Path) -> None:
    """Write where this server is, for commands on this machine."""
    file = data_layout.address_file(settings)
    temporary = file.with_suffix(".new")
    data = {"pid": os.getpid(), "listen": address, "run_dir": str(run_dir)}
    temporary.write_text(json.dumps(data))
    temporary.rename(file)


def _clean_up_after_killed(settings: Settings) -> None:
    """Remove what a server that was killed on this data directory left of its run folder."""
    file = data_layout.address_file(settings)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        run_dir = Path(json.loads(file.read_text())["run_dir"])
        if run_dir.parent in _RUN_ROOTS and run_dir.name.startswith(_RUN_PREFIX):
            shutil.rmtree(run_dir, ignore_errors=True)
    file.unlink(missing_ok=True)


def _make_run_directory() -> Path:
    tried = []
    for root in _RUN_ROOTS:
        try:
            return Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=root))
        except OSError as error:
            tried.append(f"{root}: {error.strerror}")
    raise ConfigError(
        f"there is no folder for the server's sockets ({'; '.join(tried)}); one of these has to "
        "be writable"
    )


@contextlib.contextmanager
def run_directory(settings: Settings) -> Iterator[Path]:
    """Make a directory with a short path: unix sockets allow about 100 characters.

    Raises:
        ConfigError: it cannot be made.
    """
    _clean_up_after_killed(settings)
    path = _make_run_directory()
    try:
        data_layout.workers_dir(path).mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
