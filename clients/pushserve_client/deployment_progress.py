"""Deployment progress: when to go on watching after the connection was lost."""

from __future__ import annotations

import time
from typing import Final

import grpc

from pushserve_client.errors import Details, Unavailable
from pushserve_client.requests import seconds
from pushserve_client.types import Deployment, DeploymentState

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_TRIES: Final = 8
"""Without a message in between: some 25 s, longer than a restart of the server takes."""


class Deadline:
    """The time left of `timeout` seconds from now; None is for ever.

    Raises:
        BadArgument: `timeout` is no number of seconds.
    """

    def __init__(self, timeout: float | None) -> None:
        limit = seconds(timeout)
        self._end = None if limit is None else time.monotonic() + limit

    def left(self) -> float | None:
        """Seconds that are left, 0.0 at the least."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class Reconnects:
    """Counts the losses of a connection since it last brought something."""

    def __init__(self) -> None:
        self._losses = 0

    def pause_after(self, error: Unavailable, left: float | None) -> float:
        """Give the seconds to wait before the next try.

        Raises:
            Unavailable: `error`, when enough was tried or the time is up.
        """
        self._losses += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self._losses - 1))
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
        if self._losses >= _TRIES or (left is not None and pause >= left):
            raise error
        return pause

    def progressed(self) -> None:
        """Start counting anew."""
        self._losses = 0


def early_end() -> Unavailable:
    """Give the error for a stream that ended well, but before its deployment did."""
    message = "the server ended the watch before the deployment had ended"
    return Unavailable(grpc.StatusCode.UNAVAILABLE, message, Details())


def successor(deployment: Deployment) -> str:
    """Name of the deployment that took its place, "" where none did."""
    superseded = deployment.state is DeploymentState.SUPERSEDED
    return deployment.superseded_by if superseded else ""
