"""Duties go on whatever they raise; processes that hang are told from those that starve."""

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushserve_server.errors import Unavailable
from pushserve_server.supervision.backoff import Backoff
from pushserve_server.supervision.child_process import ChildProcess
from pushserve_server.supervision.duty import Duty, DutyThread
from pushserve_server.supervision.heartbeat import Heartbeats
from pushserve_server.supervision.run_files import LockFile, keep_folder
from pushserve_server.supervision.stall import StallWatch, ThreadState, thread_state
from tests.fixtures.served import until

WAITS, SLEEPS, DISK = ThreadState("R", 0.0), ThreadState("S", 0.0), ThreadState("D", 0.0)


def test_only_what_does_not_get_ready_is_started_later_and_later():
    backoff = Backoff()
    waits = []
    for _ in range(11):
        backoff.ended(100.0, was_ready=False)
        waits.append(backoff.wait)
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] == pytest.approx(waits)
    assert (False, True) == (backoff.may_start(129.9), backoff.may_start(130.0))
    for _ in range(11):
        backoff.ended(200.0, was_ready=True)
        assert pytest.approx(0.1) == backoff.wait
    backoff.ended(300.0, was_ready=False)
    backoff.reset()
    assert backoff.may_start(300.0)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """The lines that were logged, and whether each has a traceback."""
    return [(record.getMessage(), bool(record.exc_info)) for record in caplog.records]


def test_a_duty_goes_on_and_says_each_trouble_once(caplog: pytest.LogCaptureFixture):
    troubles: list[Exception | None] = [
        Unavailable("the registry is away"),
        Unavailable("the registry is away"),
        ZeroDivisionError("oh"),
        None,
        None,
    ]
    now = 0.0

    def work() -> None:
        trouble = troubles.pop(0)
        if trouble is not None:
            raise trouble

    duty = Duty("counting", work)
    caplog.set_level(logging.INFO)
    done = []
    while troubles:
        before = len(troubles)
        done.append(duty.run(now))
        assert len(troubles) == before - 1
        if not done[-1]:
            assert not duty.run(now)  # at once would be too soon
            assert len(troubles) == before - 1
        now += 0.5
    assert [False, False, False, True, True] == done
    assert [
        ("counting: the registry is away; trying again", False),
        ("counting: ZeroDivisionError: oh; trying again", True),
        ("counting: works again", False),
    ] == said(caplog)


def test_a_trouble_that_stays_is_said_once_a_minute(caplog: pytest.LogCaptureFixture):
    def work() -> None:
        raise ZeroDivisionError

    duty = Duty("counting", work)
    for second in range(0, 130, 5):
        assert not duty.run(float(second))
    assert [True, False, False] == [has_trace for _, has_trace in said(caplog)]


def test_a_duty_on_a_thread_survives_its_work_and_its_pause():
    turns = {"work": 0, "pause": 0}

    def fail(what: str) -> None:
        turns[what] += 1
        raise OSError(what)

    thread = DutyThread(Duty("failing", lambda: fail("work")), lambda: fail("pause"))
    assert thread.join(0)
    thread.start()
    until(lambda: min(turns.values()) >= 3)
    thread.stop()
    assert thread.join(20)


def watched(states: list[ThreadState], *, every: float = 1.0) -> float:
    """Give for how long a loop with patience 8 is thought to have hung after such looks."""
    watch = StallWatch(8.0, 0.0)
    now = 0.0
    for state in states:
        now += every
        watch.look(7, lambda state=state: state, now)
    return watch.missed


@pytest.mark.parametrize(
    ("states", "every", "missed"),
    [
        # The first look sees that it turns, the second where its thread stands.
        ([SLEEPS] * 10, 1.0, 8.0),
        ([WAITS] * 10, 1.0, 8.0),  # it runs: in an endless computation
        # A supervisor that was itself kept from running looks late: that counts twice at most.
        ([SLEEPS] * 5, 60.0, 6.0),
        # It waited in the queue for a processor, or for a disk.
        ([ThreadState("R", 0.9 * i) for i in range(10)], 1.0, 0.8),
        ([ThreadState("R", 0.2 * i) for i in range(10)], 1.0, 8.0),
        ([DISK] * 10, 1.0, 0.8),
    ],
)
def test_how_long_a_loop_is_thought_to_hang(states, every, missed):
    assert missed == pytest.approx(watched(states, every=every))


def test_a_loop_that_turns_again_is_forgiven():
    watch = StallWatch(8.0, 0.0)
    for second in range(1, 9):
        watch.look(7, lambda: SLEEPS, float(second))
    assert (True, False) == (watch.looks_hung, watch.is_hung)
    watch.look(8, lambda: SLEEPS, 9.0)
    assert not watch.looks_hung
    for second in range(10, 19):
        watch.look(8, lambda: SLEEPS, float(second))
    assert watch.is_hung


def test_looks_that_come_too_soon_count_nothing():
    watch = StallWatch(8.0, 0.0)
    for i in range(1, 1000):
        watch.look(7, lambda: SLEEPS, i / 1000)
    assert 0.0 == watch.missed


def test_the_kernel_tells_how_long_a_thread_waited_for_a_processor():
    """Three that compute on one processor each wait for two thirds of the time."""
    processor = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, [{processor}]); print(flush=True)\nwhile 1: pass"
    with contextlib.ExitStack() as stack:
        pids = []
        for _ in range(3):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            pids.append(process.pid)
        before = [thread_state(pid, pid).queued for pid in pids]
        until(
            lambda: all(
                thread_state(p, p).queued > b + 0.1 for p, b in zip(pids, before, strict=True)
            )
        )
        assert {"R"} == {thread_state(pid, pid).letter for pid in pids}
    assert ThreadState("", 0.0) == thread_state(pids[0], pids[0])


CHILD = """
import faulthandler, re, signal, sys, threading, time
from pushserve_server.supervision.heartbeat import Heartbeats

faulthandler.register(signal.SIGUSR1)
heartbeats, how = Heartbeats(int(sys.argv[1])), sys.argv[2]
if how == "never gets ready":
    time.sleep(1000)
if how == "ends at once":
    sys.exit(3)

def turn():
    heartbeat = heartbeats.loop("loop", patience=1)
    while True:
        heartbeat.beat()
        time.sleep(0.05)

threading.Thread(target=turn, daemon=True).start()
other = heartbeats.loop("other loop")
other.beat()
heartbeats.ready()
if how == "holds Python's lock":
    other.end()
    re.match("(a+)+$", "a" * 100 + "b")
if how == "stands still":
    time.sleep(1000)
while True:  # computes, and lets the others turn
    other.beat()
    sum(range(1000))
"""


class Children:
    """Starts what `CHILD` describes, and notes the processes."""

    def __init__(self, how: str, log: Path) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self._how = how
        self._log = log
        self.child = ChildProcess("child", self._start, start_timeout=30, hang_timeout=1)

    def _start(self, heartbeats: Heartbeats) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(heartbeats.fd), self._how],
                pass_fds=[heartbeats.fd],
                stderr=log,
            )
        self.started.append(process)
        return process

    def tend_until_started(self, times: int) -> None:
        def look() -> bool:
            self.child.tend(time.monotonic())
            return len(self.started) >= times

        until(look, 60)


@contextlib.contextmanager
def children(how: str, log: Path) -> Iterator[Children]:
    made = Children(how, log)
    try:
        yield made
    finally:
        made.child.stop(time.monotonic())
        for process in made.started:
            assert process.wait(20) is not None


@pytest.mark.parametrize(
    ("how", "loop"), [("holds Python's lock", "loop"), ("stands still", "other loop")]
)
def test_a_process_that_hangs_is_replaced(tmp_path, caplog, how, loop):
    """The log says which of its loops stood still, and where its threads were."""
    with children(how, tmp_path / "log") as made:
        made.tend_until_started(2)
        assert -9 == made.started[0].returncode
    lines = [line for line, _ in said(caplog)]
    why = f"child lives and does not answer (its {loop} stood still for 1 s); killing it"
    assert any(line.startswith(why) for line in lines)
    assert "child ended with signal 9; starting it again in 0.1 s" in lines
    assert "most recent call first" in (tmp_path / "log").read_text()


def test_a_process_that_is_busy_and_turns_is_left_alone(tmp_path):
    """For many times as long as one may stand still."""
    with children("computes", tmp_path / "log") as made:
        made.tend_until_started(1)
        watched = made.child._heartbeats

        def look() -> bool:
            made.child.tend(time.monotonic())
            return any(turns.turned > 80 for turns in watched.turns() if turns.name == "loop")

        until(look, 60)
        assert 1 == len(made.started)
        assert made.started[0].poll() is None


def test_a_process_that_is_not_ready_in_time_is_replaced(tmp_path, caplog):
    with children("never gets ready", tmp_path / "log") as made:
        made.child._start_timeout = 0.5
        made.tend_until_started(2)
    assert any("child was not ready within 0.5 s" in line for line, _ in said(caplog))


def test_a_process_that_does_not_get_ready_is_started_later_and_later(tmp_path, caplog):
    with children("ends at once", tmp_path / "log") as made:
        made.tend_until_started(4)
    ends = [line.partition(" in ")[2] for line, _ in said(caplog) if "code 3" in line]
    assert ["0.1 s", "0.2 s", "0.4 s"] == ends[:3]


def test_a_process_that_cannot_be_started_is_tried_again(tmp_path):
    def cannot(_heartbeats: Heartbeats) -> "subprocess.Popen[bytes]":
        raise BlockingIOError("no more processes")

    child = ChildProcess("child", cannot, start_timeout=9, hang_timeout=9)
    with pytest.raises(BlockingIOError):
        child.tend(100.0)
    assert not child.tend(100.05)  # not yet
    with pytest.raises(BlockingIOError):
        child.tend(100.2)
    child.start_soon()
    with pytest.raises(BlockingIOError):
        child.tend(100.2)


def test_a_process_shows_its_loops_and_that_it_is_ready():
    heartbeats = Heartbeats.create()
    theirs = Heartbeats(os.dup(heartbeats.fd))  # as the process sees it
    loop = theirs.loop("event loop")
    assert (False, []) == (heartbeats.is_ready, heartbeats.turns())
    for _ in range(3):
        loop.beat()
    slow = theirs.loop("slow", patience=10)
    slow.beat()
    theirs.ready()
    assert heartbeats.is_ready
    shown = [(t.name, t.patience, t.turned) for t in heartbeats.turns()]
    assert [("event loop", 1, 3), ("slow", 10, 1)] == shown
    loop.end()
    assert ["slow"] == [turns.name for turns in heartbeats.turns()]
    heartbeats.clear()
    assert (False, []) == (heartbeats.is_ready, heartbeats.turns())


def test_a_folder_is_made_again_unless_it_is_somebody_elses(tmp_path):
    folder = tmp_path / "run"
    keep_folder(folder)
    assert 0o700 == folder.stat().st_mode & 0o777
    keep_folder(folder)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="somebody else"):
        keep_folder(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(PermissionError, match="somebody else"):
        keep_folder(folder)


def test_a_lock_that_was_removed_is_not_taken_from_another_server(tmp_path):
    from pushserve_server.settings import ConfigError

    path = tmp_path / "lock"
    with contextlib.closing(LockFile(path)) as first:
        first.keep()
        path.unlink()
        with contextlib.closing(LockFile(path)), pytest.raises(ConfigError, match="another server"):
            first.keep()
        first.keep()  # that one has ended
        with pytest.raises(ConfigError, match="another server"):
            LockFile(path)
