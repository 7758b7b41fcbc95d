"""Asking remotes while callers wait: a host that hangs costs nobody else anything."""

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from pushserve_server.deploy.remote_asks import RemoteAsks
from pushserve_server.errors import BadInput, DeploymentFailed, Unavailable
from pushserve_server.source.remote import RemoteRefs

MANY = 32
SOON = 20
REFS = RemoteRefs("refs/heads/main", {"refs/heads/main": "a" * 40})


class Remotes:
    """Remotes that answer when a test lets them; each question waits for one `answer` to it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._changed = threading.Condition()
        self._answers: dict[str, list[RemoteRefs | Exception]] = defaultdict(list)

    def __call__(self, url: str) -> RemoteRefs:
        if "good" in url:
            return REFS
        with self._changed:
            self.asked.append(url)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._answers[url], SOON)
            answer = self._answers[url].pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, answer: RemoteRefs | Exception, *urls: str) -> None:
        with self._changed:
            for url in urls:
                self._answers[url].append(answer)
            self._changed.notify_all()

    def until_asked(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, SOON)


@pytest.fixture
def remotes():
    return Remotes()


@pytest.fixture
def asks(remotes):
    return RemoteAsks(remotes)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(MANY) as pool:
        yield pool


def until_all_wait(asks, host, count):
    deadline = time.monotonic() + SOON
    while asks._hosts[host].users < count:
        assert time.monotonic() < deadline


def silent():
    return Unavailable("it did not answer in time")


def test_a_host_that_hangs_keeps_no_other_waiting(asks, remotes, pool):
    hanging = [pool.submit(asks.refs, f"https://slow/r{n}") for n in range(MANY)]
    remotes.until_asked(4)
    assert REFS == asks.refs("https://good/r")
    assert not any(one.done() for one in hanging)
    # One patience is all that it costs, however many wait: none of them is asked for any more.
    remotes.answer(silent(), *remotes.asked)
    assert [None] * MANY == [one.result(SOON) for one in hanging]
    assert 4 == len(remotes.asked)


def test_a_host_that_answers_is_asked_about_each_a_few_at_a_time(asks, remotes, pool):
    waiting = [pool.submit(asks.refs, f"https://host/r{n}") for n in range(MANY)]
    for asked in range(4, MANY + 1):
        remotes.until_asked(asked)
        remotes.answer(REFS, remotes.asked[asked - 4])
    remotes.answer(REFS, *remotes.asked[-3:])
    assert [REFS] * MANY == [one.result(SOON) for one in waiting]
    assert MANY == len(set(remotes.asked)) == len(remotes.asked)


def test_an_answer_is_shared_by_those_who_came_before_it_was_asked_for(asks, remotes, pool):
    """Whoever pushed before the call must not get what was true before the push."""
    first = pool.submit(asks.refs, "https://host/r")
    remotes.until_asked(1)
    others = [pool.submit(asks.refs, f"https://host/{n}") for n in range(3)]
    remotes.until_asked(4)
    later = [pool.submit(asks.refs, "https://host/r") for _ in range(20)]
    until_all_wait(asks, "host:None", 24)
    remotes.answer(REFS, "https://host/r")
    remotes.until_asked(5)
    newer = RemoteRefs(None, {})
    remotes.answer(newer, "https://host/r")
    remotes.answer(REFS, *(f"https://host/{n}" for n in range(3)))
    assert [newer] * 20 == [one.result(SOON) for one in later]
    assert [REFS] * 4 == [one.result(SOON) for one in (first, *others)]
    assert 5 == len(remotes.asked)


def test_what_a_remote_refuses_is_told_to_all_who_asked(asks, remotes, pool):
    gone = DeploymentFailed("REPOSITORY_NOT_FOUND", "gone", "check")
    refused = pool.submit(asks.refs, "https://host/r")
    remotes.answer(gone, "https://host/r")
    with pytest.raises(DeploymentFailed):
        refused.result(SOON)
    remotes.answer(REFS, "https://host/r")
    assert REFS == asks.refs("https://host/r")


def test_no_url_is_refused_and_nothing_is_kept_of_those_who_asked(asks, remotes):
    with pytest.raises(BadInput):
        asks.refs("nonsense")
    remotes.answer(silent(), "https://host/r")
    assert None is asks.refs("https://host/r")
    assert {} == asks._hosts
