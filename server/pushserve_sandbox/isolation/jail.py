"""Jail: a forked child gives up everything but its model's files and its sockets.

Landlock limits files, TCP, abstract sockets and signals; seccomp limits calls (no sockets,
no processes, no threads); rlimits bound memory, time and file sizes; where the server is
root, the child becomes nobody. Neither Landlock nor seccomp is enough alone: the one leaves
UDP and unix sockets open, the other leaves files readable.

/proc is left out altogether, its own entries too: nothing here needs them, and a rule for
one lasts only as long as the kernel keeps that entry in its cache.
"""

from __future__ import annotations

import functools
import math
import os
import resource
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pushserve_runtime.job_policy import Policy, job_environment
from pushserve_sandbox.isolation import landlock, privileges, seccomp
from pushserve_sandbox.isolation.audit_log import Violation, first_violation, watch
from pushserve_sandbox.isolation.privileges import prctl

__all__ = ["JailError", "Violation", "enter", "first_violation", "supported"]

_OPEN_FILES: Final = 256
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/zero", "/dev/urandom", "/dev/random"),
    "/sys/devices/system/cpu",  # what libraries size their buffers by
    # joblib counts processors, and fails where these exist and cannot be read.
    *("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
_NULL: Final = Path("/dev/null")


class JailError(RuntimeError):
    """The jail cannot be entered; the child must end."""


def supported() -> list[str]:
    """Give what this machine lacks for the jail, one sentence each; empty is good."""
    problems = []
    if not landlock.abi():
        problems.append(
            "the kernel has no Landlock: it needs Linux 5.13 or later with landlock among the "
            "security modules (boot parameter lsm=)"
        )
    try:
        seccomp.check()
    except OSError as error:
        problems.append(str(error.strerror))
    if not hasattr(os, "pidfd_open"):
        problems.append("this Python has no os.pidfd_open")
    return problems


def enter(policy: Policy, keep: Sequence[int], parent: int, *, output: int | None = None) -> None:
    """Put this process, a forked child with one thread, into the jail for ever.

    `keep` are the descriptors that stay open. 0 becomes /dev/null, and so do 1 and 2 unless
    they become `output`. `parent` is the process whose end ends this one. That process has to
    have called `supported` before it forked, which loads what the filter is built with.

    Raises:
        JailError: a step failed; the process is then half-way in and must end.
    """
    try:
        _leave_the_parents_things(keep, output)
        keep_read_search = _needs_read_search(policy)
        _prepare_folders(policy)
        _set_environment(policy)
        _volunteer_for_the_oom_killer()
        os.nice(policy.nice)
        _forget_other_code(policy)
        _limit_resources(policy)
        _lock(policy, parent, keep_read_search=keep_read_search)
    except (OSError, ValueError) as error:
        raise JailError(f"the sandbox cannot be entered: {error}") from error


def _lock(policy: Policy, parent: int, *, keep_read_search: bool) -> None:
    """Do what cannot be undone, in the one order that works."""
    prctl(privileges.PR_SET_NO_NEW_PRIVS, 1)
    readable = _readable(policy)
    landlock.restrict(readable, [*policy.write, _NULL])
    if os.geteuid() == 0:
        privileges.become(policy.user, keep_read_search=keep_read_search)
    else:
        privileges.set_capabilities(0)
    # Both are reset when the user changes.
    prctl(privileges.PR_SET_DUMPABLE, 0)
    prctl(privileges.PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        raise JailError("the zygote has ended")
    watch([*readable, *policy.write, _NULL])
    seccomp.load()


def _leave_the_parents_things(keep: Iterable[int], output: int | None) -> None:
    # No session of its own: Linux shares the processor out between sessions first (autogroups),
    # so that jobs, however many compute for ever, take the part of one.
    os.setpgid(0, 0)
    os.umask(0o077)
    null = os.open(_NULL, os.O_RDWR)
    said = null if output is None else output
    for fd, to in ((0, null), (1, said), (2, said)):
        os.dup2(to, fd, inheritable=True)
    kept = {0, 1, 2, *keep}
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 — numbers
        if fd not in kept:
            with suppress(OSError):  # the one that listed the folder is closed already
                os.close(fd)


def _needs_read_search(policy: Policy) -> bool:
    """Whether nobody could not read what the job has to."""
    if os.geteuid() != 0:
        return False
    parents = [path.parent for path in policy.write]
    return not privileges.open_to_others([*python_paths(), *parents], policy.read)


def _prepare_folders(policy: Policy) -> None:
    if os.geteuid() == 0:
        for path in policy.write:
            os.chown(path, policy.user, policy.user, follow_symlinks=False)
    first = policy.write[0] if policy.write else Path("/")
    os.chdir(policy.directory or first)


def _set_environment(policy: Policy) -> None:
    os.environ.clear()
    os.environ.update(job_environment())
    if policy.write:
        os.environ["HOME"] = os.environ["TMPDIR"] = str(policy.write[0])


def _volunteer_for_the_oom_killer() -> None:
    Path("/proc/self/oom_score_adj").write_text("500")


def _forget_other_code(policy: Policy) -> None:
    """Take folders off the import path that can no longer be read."""
    roots = tuple(os.path.realpath(path) + "/" for path in _readable(policy))
    for entry in list(sys.path):
        if not (os.path.realpath(entry) + "/").startswith(roots):
            sys.path.remove(entry)
            sys.path_importer_cache.pop(entry, None)
    sys.dont_write_bytecode = True


def _limit_resources(policy: Policy) -> None:
    for name in ("CORE", "NPROC", "MEMLOCK", "MSGQUEUE", "RTPRIO", "NICE"):
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            resource.setrlimit(kind, (0, 0))
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if policy.file_size is not None:
        _lower(resource.RLIMIT_FSIZE, policy.file_size)
    if policy.cpu_seconds is not None:
        seconds = math.ceil(policy.cpu_seconds)
        # SIGXCPU at the soft limit can be caught, SIGKILL at the hard one cannot.
        _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    if policy.memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + policy.memory)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


@functools.cache
def python_paths() -> tuple[Path, ...]:
    """Give the folders of this Python, of its packages, and of what jobs import of ours."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    paths.update(site.getsitepackages())
    paths.update(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib"))
    if sys.flags.no_site:  # then the path is what the zygote was told: an environment's folders
        paths.update(sys.path)
    # Of an editable install these two packages alone, not the server's code beside them.
    sandbox = Path(__file__).parents[1]
    paths.update((str(sandbox), str(sandbox.with_name("pushserve_runtime"))))
    return tuple(sorted(Path(path) for path in paths if Path(path).exists()))


def _readable(policy: Policy) -> list[Path]:
    system = [path for path in map(Path, _SYSTEM) if path.exists()]
    return [*system, *python_paths(), *policy.read]
