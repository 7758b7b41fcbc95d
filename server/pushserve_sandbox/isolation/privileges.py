"""Privileges: giving up root; user, groups and capabilities.

A server that runs as root has its jobs run as nobody. Where nobody cannot reach what a job
has to read (a Python below /root, a bundle with mode 0600), the job keeps the one
capability to read any file: Landlock then is what limits it to its own.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38

CAP_DAC_READ_SEARCH: Final = 2
_CAPABILITY_VERSION: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def prctl(option: int, value: int) -> int:
    """Set or read one attribute of this process.

    Raises:
        OSError: the kernel refused.
    """
    result = int(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
    return result


def become(user: int, *, keep_read_search: bool) -> None:
    """Change from root to `user`, without groups, and give up every capability but one.

    Raises:
        OSError: the kernel refused.
    """
    _drop_bounding_set()
    if keep_read_search:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    set_capabilities(1 << CAP_DAC_READ_SEARCH if keep_read_search else 0)


def set_capabilities(mask: int) -> None:
    """Make `mask` (of the first 32) the permitted and effective set; none is inherited.

    Raises:
        OSError: the process does not have one of them.
    """
    header = _Header(_CAPABILITY_VERSION, 0)
    sets = (_Sets * 2)(_Sets(mask, mask, 0), _Sets(0, 0, 0))
    if _libc.capset(ctypes.byref(header), ctypes.byref(sets)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _drop_bounding_set() -> None:
    capability = 0
    while True:
        try:
            present = prctl(PR_CAPBSET_READ, capability)
        except OSError:  # past the last one that the kernel knows
            return
        if present:
            prctl(PR_CAPBSET_DROP, capability)
        capability += 1


def open_to_others(roots: Iterable[Path], trees: Sequence[Path]) -> bool:
    """Whether any user can reach and read `roots` and everything in `trees`."""
    return all(_reachable(path) for path in roots) and all(
        _reachable(path) and _readable_below(path) for path in trees
    )


def _reachable(path: Path) -> bool:
    path = Path(os.path.realpath(path))
    return _readable(path) and all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _readable_below(tree: Path) -> bool:
    return all(
        _readable(Path(folder, name))
        for folder, folders, files in os.walk(tree)
        for name in (*folders, *files)
    )


def _readable(path: Path) -> bool:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return True
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted
