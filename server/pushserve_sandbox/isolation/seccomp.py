"""Seccomp: the kernel calls that a job may make.

Allowed is what Python, NumPy, scikit-learn and ONNX Runtime need with one thread and with
descriptors that were open before. Everything else answers ENOSYS, so that the C library
falls back to an older call (clone3 to clone); what code would notice answers EPERM.

Arguments matter as much as names: a datagram socket pair could send to any unix socket by
its path, fcntl can have signals sent to other processes, O_RDONLY|O_TRUNC empties a file
that Landlock below ABI 3 believes to be only read, and chmod and its like are no business
of Landlock at all.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import importlib
import os
import socket
import termios
from collections.abc import Iterable
from typing import Any, Final

_FILES: Final = """
    access chdir close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fallocate fchdir fdatasync flock fstat fstatfs fsync ftruncate getcwd getdents
    getdents64 link linkat lseek lstat mkdir mkdirat newfstatat pipe pipe2 pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readlink readlinkat readv rename renameat renameat2
    rmdir sendfile stat statfs statx symlink symlinkat sync_file_range umask unlink unlinkat
    write writev
"""
_MEMORY: Final = """
    brk get_mempolicy madvise membarrier mincore mlock mlock2 mmap mprotect mremap msync munlock
    munmap
"""
_EVENTS: Final = """
    accept accept4 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd2 getpeername getsockname getsockopt poll ppoll pselect6 recvfrom recvmsg select
    sendmsg shutdown timerfd_create timerfd_gettime timerfd_settime
"""
_PROCESS: Final = """
    alarm capget clock_getres clock_gettime clock_nanosleep exit exit_group futex futex_waitv
    get_robust_list getcpu getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid
    getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid
    gettimeofday getuid nanosleep pause restart_syscall rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield
    set_robust_list setitimer sigaltstack sysinfo time times uname wait4 waitid
"""
_FORBIDDEN: Final = """
    socket connect bind listen sendmmsg
    clone fork vfork execve execveat unshare setns
    ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal kcmp
    process_madvise rt_sigqueueinfo rt_tgsigqueueinfo setpgid setpriority sched_setaffinity
    sched_setscheduler sched_setattr ioprio_set
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig mount_setattr
    swapon swapoff reboot sethostname setdomainname init_module finit_module delete_module
    kexec_load kexec_file_load acct quotactl syslog settimeofday clock_settime adjtimex
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    add_key request_key keyctl name_to_handle_at open_by_handle_at personality
    fanotify_init inotify_init inotify_init1 memfd_create memfd_secret mbind set_mempolicy
    migrate_pages move_pages shmget shmat shmctl msgget semget mq_open
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    setrlimit truncate chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat mknod mknodat
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr utime utimes futimesat
    utimensat
"""

_SIGNAL_CALLS: Final = ("kill", "tkill", "tgkill")
_PRCTL: Final = (3, 15, 16, 21, 23, 39, 0x53564D41)
"""GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA."""
_IOCTL: Final = (
    *(termios.TCGETS, termios.TIOCGWINSZ, termios.FIONREAD, termios.FIONBIO),
    *(termios.FIOCLEX, termios.FIONCLEX),
)
_OFD_LOCKS: Final = (36, 37, 38)
_FCNTL: Final = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
    *(fcntl.F_SETFL, fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW, *_OFD_LOCKS),
)
_SOCKET_OPTIONS: Final = (
    *(socket.SO_SNDBUF, socket.SO_RCVBUF, socket.SO_KEEPALIVE, socket.SO_REUSEADDR),
    *(20, 21),  # SO_RCVTIMEO, SO_SNDTIMEO
)
_INT: Final = 0xFFFFFFFF


class SeccompError(OSError):
    """The filter cannot be built or loaded."""


@functools.cache
def _library() -> Any:
    # pyseccomp looks for libseccomp when it is imported and raises RuntimeError without it.
    try:
        return importlib.import_module("pyseccomp")
    except (ImportError, RuntimeError, OSError) as error:
        raise SeccompError(
            errno.EOPNOTSUPP, f"libseccomp cannot be loaded (Debian: libseccomp2): {error}"
        ) from error


def check() -> None:
    """Load the library and build a filter, without applying it.

    Raises:
        SeccompError: there is no libseccomp, or the architecture is not known.
    """
    machine = os.uname().machine
    if machine not in {"x86_64", "aarch64"}:
        raise SeccompError(errno.EOPNOTSUPP, f"no system call filter for {machine}")
    _build()


def load() -> None:
    """Apply the filter to this process, for ever. Needs no_new_privs.

    Raises:
        SeccompError: the kernel refused it.
    """
    try:
        _build().load()
    except OSError as error:
        raise SeccompError(error.errno, f"seccomp: {error.strerror}") from error


def _build() -> Any:
    lib = _library()
    rules = lib.SyscallFilter(lib.ERRNO(errno.ENOSYS))
    # A call by another table (32-bit, x32) would pass a filter written for this one.
    rules.set_attr(lib.Attr.ACT_BADARCH, lib.KILL_PROCESS)
    rules.set_attr(lib.Attr.CTL_OPTIMIZE, 2)  # a binary tree instead of a list
    for name in f"{_FILES} {_MEMORY} {_EVENTS} {_PROCESS}".split():
        _add(rules, lib.ALLOW, name)
    for name in _FORBIDDEN.split():
        _add(rules, lib.ERRNO(errno.EPERM), name)
    _add_signals(rules)
    _add_sockets(rules)
    _add_open(rules)
    _allow_values(rules, "prctl", 0, _PRCTL)
    _allow_values(rules, "ioctl", 1, _IOCTL)
    _allow_values(rules, "fcntl", 1, _FCNTL)
    _add(rules, lib.ALLOW, "prlimit64", lib.Arg(0, lib.EQ, 0))
    _add(rules, lib.ERRNO(errno.EPERM), "prlimit64", lib.Arg(0, lib.NE, 0))
    return rules


def _add(rules: Any, action: int, name: str, *args: Any) -> None:
    # Negative: not on this architecture, or newer than libseccomp (then it stays ENOSYS).
    number = _library().resolve_syscall(_library().Arch.NATIVE, name)
    if number >= 0:
        rules.add_rule(action, number, *args)


def _allow_values(rules: Any, name: str, arg: int, values: Iterable[int]) -> None:
    """Allow a call where the low 32 bits of argument `arg` are one of `values`."""
    lib = _library()
    for value in values:
        _add(rules, lib.ALLOW, name, lib.Arg(arg, lib.MASKED_EQ, _INT, value & _INT))


def _add_signals(rules: Any) -> None:
    """Signals may go to this process alone: abort() and Python's raise_signal need that."""
    lib = _library()
    pid = os.getpid()
    for name in _SIGNAL_CALLS:
        _add(rules, lib.ALLOW, name, lib.Arg(0, lib.EQ, pid))
        _add(rules, lib.ERRNO(errno.EPERM), name, lib.Arg(0, lib.NE, pid))


def _add_sockets(rules: Any) -> None:
    """Socket pairs only as unix streams, which cannot be given another address."""
    lib = _library()
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    for kind in kinds:
        action = lib.ALLOW if kind == socket.SOCK_STREAM else lib.ERRNO(errno.EPERM)
        unix = lib.Arg(0, lib.EQ, socket.AF_UNIX)
        _add(rules, action, "socketpair", unix, lib.Arg(1, lib.MASKED_EQ, 0xF, kind))
    _add(rules, lib.ERRNO(errno.EPERM), "socketpair", lib.Arg(0, lib.NE, socket.AF_UNIX))
    # Argument 4 is the address.
    _add(rules, lib.ALLOW, "sendto", lib.Arg(4, lib.EQ, 0))
    _add(rules, lib.ERRNO(errno.EPERM), "sendto", lib.Arg(4, lib.NE, 0))
    at_socket = lib.Arg(1, lib.EQ, socket.SOL_SOCKET)
    for option in _SOCKET_OPTIONS:
        _add(rules, lib.ALLOW, "setsockopt", at_socket, lib.Arg(2, lib.EQ, option))


def _add_open(rules: Any) -> None:
    """Opening may not truncate what is opened for reading only."""
    lib = _library()
    for name, arg in (("open", 1), ("openat", 2)):
        for mask, value in (
            (os.O_TRUNC, 0),
            (os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_WRONLY),
            (os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDWR),
        ):
            _add(rules, lib.ALLOW, name, lib.Arg(arg, lib.MASKED_EQ, mask, value))
