"""Remote asks: where remotes' refs point, for callers who wait, with few questions at a time.

Callers who name one repository share an answer, if it was asked for after they came: what was
pushed before a call is seen by it. Of one host a few are asked for at a time; when one of these
is not answered in time, none of those that wait for their turn at that host is asked for any
more. So a host that hangs costs every caller one patience, and nobody else anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pushserve_server.errors import Unavailable
from pushserve_server.source.remote import RemoteRefs, list_refs
from pushserve_server.source.urls import parse_url

_AT_A_HOST: Final = 4
"""Questions under way, each with two or three processes."""
_PATIENCE: Final = 4.0
"""For one answer while callers wait, in seconds (GitHub gives a webhook 10)."""

Ask = Callable[[str], RemoteRefs]


def _ask(url: str) -> RemoteRefs:
    return list_refs(url, timeout=_PATIENCE, cancelled=threading.Event())


@dataclass(slots=True)
class _Question:
    """One repository's refs, asked for once for all who came before `began`."""

    began: bool = False
    done: bool = False
    refs: RemoteRefs | None = None
    error: Exception | None = None


@dataclass(slots=True)
class _Host:
    """`silences` counts the questions that were not answered in time; `users` those who wait."""

    asking: int = 0
    silences: int = 0
    users: int = 0
    questions: dict[str, _Question] = field(default_factory=dict)


class RemoteAsks:
    """Asks remotes for any number of threads; `ask` raises Unavailable where one is silent."""

    def __init__(self, ask: Ask = _ask) -> None:
        self._ask = ask
        self._hosts: dict[str, _Host] = {}
        self._changed = threading.Condition()

    def refs(self, url: str) -> RemoteRefs | None:
        """Give the refs of a remote, None where it, or its host, is silent.

        Raises:
            BadInput: `url` is no clone URL.
            DeploymentFailed: the remote answers, and cannot be read.
        """
        parts = parse_url(url)
        key = f"{parts.host}:{parts.port}"
        with self._changed:
            host = self._hosts.setdefault(key, _Host())
            host.users += 1
            question = host.questions.get(url)
            if question is None or question.began:
                question = host.questions[url] = _Question()
            silences = host.silences
        try:
            self._settle(host, url, question, silences)
        finally:
            with self._changed:
                host.users -= 1
                if not host.users:
                    del self._hosts[key]
        if question.error is not None:
            raise question.error
        return question.refs

    def _settle(self, host: _Host, url: str, question: _Question, silences: int) -> None:
        """Wait for the answer, and get it where nobody else does."""
        with self._changed:
            self._changed.wait_for(
                lambda: question.began or host.asking < _AT_A_HOST or host.silences != silences
            )
            if question.began or host.silences != silences:
                self._changed.wait_for(lambda: question.done or not question.began)
                return
            question.began = True
            host.asking += 1
        try:
            question.refs = self._ask(url)
        except Unavailable:
            question.refs = None
        except Exception as error:  # noqa: BLE001 (whoever waits for it raises it)
            question.error = error
        with self._changed:
            question.done = True
            host.asking -= 1
            host.silences += question.refs is None and question.error is None
            if host.questions.get(url) is question:
                del host.questions[url]
            self._changed.notify_all()
