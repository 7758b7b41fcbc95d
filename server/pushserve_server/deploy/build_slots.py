"""Build slots: so many builds at a time, of deployments and of lost bundles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pushserve_server.build.build_job import Interrupted

_LOOK: Final = 0.1


class BuildSlots:
    """`count` slots, for any number of threads."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def hold(
        self, cancelled: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Hold a slot while the block runs; `waiting` is called where none is free at once.

        Raises:
            Interrupted: `cancelled` was set while it waited.
        """
        if not self._free.acquire(blocking=False):
            waiting()
            while not self._free.acquire(timeout=_LOOK):
                if cancelled.is_set():
                    raise Interrupted
        try:
            yield
        finally:
            self._free.release()
