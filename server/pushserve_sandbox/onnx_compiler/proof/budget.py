"""Budget: work that is given up after so much processor time of this process.

How busy the machine is makes it no shorter.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_AGAIN: Final = 0.1
"""Whoever caught it on the way is stopped again."""


class OverBudget(BaseException):
    """The time is over. No `except Exception` of a library's holds it."""


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Raise OverBudget inside, once the process has worked for so many seconds.

    Only a process's first thread can be stopped; on any other one nothing is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise OverBudget

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
