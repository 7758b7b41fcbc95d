"""Duties: what is done again and again, and goes on whatever one time of it raised."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from pushserve_server.errors import PushserveError
from pushserve_server.supervision.backoff import Backoff

logger = logging.getLogger(__name__)

_LONGEST: Final = 5.0
"""Between two tries of what fails, in seconds."""
_SAY_AGAIN: Final = 60.0
"""After which the same trouble is logged again, in seconds."""


class Duty:
    """One thing to do, with a guard and a back-off of its own.

    Trouble is logged when it begins, when it changes and once a minute, with a traceback where
    nobody foresaw it; and that it is over.
    """

    def __init__(self, what: str, work: Callable[[], None]) -> None:
        self.what = what
        self._work = work
        self._backoff = Backoff(_LONGEST)
        self._trouble = ""
        self._said_at = 0.0

    def run(self, now: float) -> bool:
        """Do it, unless it failed just now; say whether it was done."""
        if not self._backoff.may_start(now):
            return False
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 (the edge of a loop; it is logged)
            self._backoff.ended(now, was_ready=False)
            self._say(error, now)
            return False
        if self._trouble:
            logger.info("%s: works again", self.what)
            self._trouble = ""
        self._backoff.reset()
        return True

    def _say(self, error: Exception, now: float) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if trouble == self._trouble and now - self._said_at < _SAY_AGAIN:
            return
        known = isinstance(error, PushserveError) or trouble == self._trouble
        text = error.message if isinstance(error, PushserveError) else trouble
        logger.error("%s: %s; trying again", self.what, text, exc_info=None if known else error)
        self._trouble, self._said_at = trouble, now


class DutyThread:
    """Does a duty on a thread of its own, so that what it waits for keeps no other one waiting.

    `pause` waits until the next time, for a moment at most.
    """

    def __init__(self, duty: Duty, pause: Callable[[], None]) -> None:
        self._duty = duty
        self._pause = Duty(f"{duty.what} (waiting)", pause)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=duty.what, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    def join(self, seconds: float) -> bool:
        """Wait until what was begun has ended; say whether it has."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._duty.run(time.monotonic())
            if not self._pause.run(time.monotonic()):
                self._stopped.wait(_LONGEST / 50)
