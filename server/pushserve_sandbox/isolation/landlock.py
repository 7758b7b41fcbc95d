"""Landlock: the kernel lets this process open only what is listed.

Interface and rights: https://docs.kernel.org/userspace-api/landlock.html. The PyPI binding
covers files only, so the three system calls are made here. Every right that the running
kernel knows is handled, so whatever is not listed is denied; TCP and, from ABI 6, abstract
unix sockets and signals to outside are denied altogether.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# The same on every architecture that was added after them or uses the generic table.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14

_READ: Final = _READ_FILE | _READ_DIR
# No links, pipes, sockets or devices: the server may look at what a job left behind.
_WRITE: Final = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
)
_FOR_FILES: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE

# Number of file rights from an ABI on (bits from 0): REFER, TRUNCATE, IOCTL_DEV, RESOLVE_UNIX.
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16), (9, 17))
_NET_ABI: Final = 4
_NET_RIGHTS: Final = 0b11  # bind and connect TCP
_SCOPE_ABI: Final = 6
_SCOPES: Final = 0b11  # abstract unix sockets, signals

_libc = ctypes.CDLL(None, use_errno=True)


class LandlockError(OSError):
    """The kernel has no Landlock, or refused a rule."""


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Give the kernel's Landlock ABI; 0 if it has none or it is switched off."""
    return max(int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)), 0)


def restrict(read: Sequence[Path], write: Sequence[Path]) -> None:
    """Deny this process, for ever, every file but these and what is below them.

    In a `write` folder files and folders can be made, changed and removed, but no links,
    sockets or devices. Nothing can be executed. Needs no_new_privs.

    Raises:
        LandlockError: the kernel has none, or a path does not exist.
    """
    version = abi()
    if not version:
        raise LandlockError(
            errno.EOPNOTSUPP,
            "the kernel has no Landlock; it needs Linux 5.13 or later with landlock among the "
            "security modules (lsm=)",
        )
    handled = file_rights(version)
    with _ruleset(version, handled) as ruleset:
        for path in read:
            _allow(ruleset, path, _READ & handled)
        for path in write:
            _allow(ruleset, path, _WRITE & handled)
        _call("restrict_self", _RESTRICT_SELF, ruleset, 0)


def file_rights(version: int) -> int:
    """Give the mask of every file right that ABI `version` knows."""
    return (1 << max(bits for since, bits in _FILE_RIGHTS if since <= version)) - 1


@contextmanager
def _ruleset(version: int, handled: int) -> Iterator[int]:
    attr = _RulesetAttr(
        handled_access_fs=handled,
        handled_access_net=_NET_RIGHTS if version >= _NET_ABI else 0,
        scoped=_SCOPES if version >= _SCOPE_ABI else 0,
    )
    # An old kernel takes the longer struct as long as what it does not know is zero.
    size = ctypes.sizeof(attr)
    fd = _call("create_ruleset", _CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), 0)
    try:
        yield fd
    finally:
        os.close(fd)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise LandlockError(error.errno, f"cannot allow {path}: {error.strerror}") from error
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FOR_FILES
        rule = _PathBeneath(allowed_access=rights, parent_fd=fd)
        _call("add_rule", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)


def _call(name: str, number: int, *args: object) -> int:
    result = int(_libc.syscall(number, *args))
    if result < 0:
        code = ctypes.get_errno()
        raise LandlockError(code, f"landlock_{name}: {os.strerror(code)}")
    return result
