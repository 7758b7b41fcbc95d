"""Processor share: has jobs stand back while one of them computes for longer than a call should.

Linux shares the processor out between sessions (autogroups), and inside of each between processes
by their nice values. All jobs are in the zygote's session, so together they take the part of one
process. While a worker is silent, that part is made smaller, and inside of it the silent one's.

In a cgroup of its own (a container, a systemd unit whose processor time is accounted) there are
no autogroups: there the nice values alone count, which takes CAP_SYS_NICE to set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pushserve_runtime.job_policy import NICEST

SESSION_NICE: Final = 5
"""Of all jobs, while a worker is silent: two busy processes then keep 86 % of two processors; 67
they have beside any number of jobs that compute."""


class ProcessorShare:
    """What of all this is set at the moment."""

    def __init__(self) -> None:
        self._silent: dict[int, int] = {}
        self._leader: int | None = None
        self._may_restore = os.geteuid() == 0

    def tend(self, silent: Mapping[int, int]) -> None:
        """Take over which workers are silent: by pid, with the nice value that is theirs else."""
        before, self._silent = self._silent, dict(silent)
        if self._may_restore:  # else one slow batch would have a worker stand back for ever
            for pid in silent.keys() - before.keys():
                _set_nice(pid, NICEST)
            for pid in before.keys() - silent.keys():
                _set_nice(pid, before[pid])
        if silent and self._leader is None:
            leader = _leader_of(next(iter(silent)))
            if leader is not None and _set_session(leader, SESSION_NICE):
                self._leader = leader
        elif not silent and self._leader is not None and _set_session(self._leader, 0):
            self._leader = None


def _set_nice(pid: int, nice: int) -> None:
    with suppress(OSError):  # it has ended, or this server lacks the right
        os.setpriority(os.PRIO_PROCESS, pid, nice)


def _leader_of(pid: int) -> int | None:
    """Give the first process of a job's session, the zygote; never that of the server itself."""
    try:
        leader = os.getsid(pid)
    except OSError:
        return None
    return None if leader == os.getsid(0) else leader


def _set_session(leader: int, nice: int) -> bool:
    """Set the share of a session; False to try again: the kernel takes ten requests a second."""
    try:
        Path(f"/proc/{leader}/autogroup").write_text(str(nice))
    except BlockingIOError:
        return False
    except OSError:  # it has ended, or there are no autogroups
        return True
    return True
