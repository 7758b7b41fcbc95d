"""Processor share: has jobs stand back while one of them computes for longer than a call should.

Linux shares the processor out between sessions (autogroups), and inside of each between processes
by their nice values. All jobs are in the zygote's session, so together they take the part of one
process. While a worker is silent, that part is made smaller, and inside of it the silent one's.

In a cgroup of its own (a container, a systemd unit whose processor time is accounted) there are
no autogroups: there the nice values alone count, which takes CAP_SYS_NICE to set.
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
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
        self._nice_before: dict[int, int] = {}
        self._leader: int | None = None
        self._may_restore = os.geteuid() == 0

    def tend(self, silent: AbstractSet[int]) -> None:
        """Take over which workers are silent, by their pids."""
        if self._may_restore:  # else one slow batch would have a worker stand back for ever
            for pid in self._nice_before.keys() - silent:
                _set_nice(pid, self._nice_before.pop(pid))
            for pid in silent - self._nice_before.keys():
                with suppress(OSError):  # it has ended
                    self._nice_before[pid] = os.getpriority(os.PRIO_PROCESS, pid)
                    _set_nice(pid, NICEST)
        leader = _leader_of(next(iter(silent))) if silent else None
        if leader == self._leader or (silent and leader is None):
            return
        if leader is not None:  # another one than before where the zygote was started again
            self._leader = leader if _set_session(leader, SESSION_NICE) else self._leader
        elif self._leader is not None and _set_session(self._leader, 0):
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
