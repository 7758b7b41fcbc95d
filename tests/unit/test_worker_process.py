"""Workers that hang are killed and started again, whatever they hang at; with real jobs."""

import logging
import shutil
import socket
import time
from pathlib import Path

import pytest

from pushserve_runtime.job_policy import Policy
from pushserve_server.unix_sockets import ListeningSocket
from pushserve_server.worker_sockets import (
    BROKEN,
    HUNG,
    Complaint,
    complain,
    complaint_of,
    sockets_in,
    why_gone,
)
from pushserve_server.workers.job_reports import JobReports
from pushserve_server.workers.worker_process import Patience, WorkerProcess
from tests.fixtures.served import until

LONG = 1000.0


class Tended:
    """A worker process that is looked after whenever a test looks at it."""

    def __init__(self, zygote, folder: Path, patience: Patience, times: int) -> None:
        self._zygote = zygote
        self.job = "jailed:greet", {"times": times}
        self.path = folder / "0.sock"
        self.process = WorkerProcess("m v1", ListeningSocket.make(self.path, 8), patience)
        self.started: list[int] = []

    def _start(self, listener: int):
        kind, spec = self.job
        fds = (listener,) if kind == "jailed:greet" else ()
        job = self._zygote.start(kind, spec, Policy(), fds=fds)
        self.started.append(job.pid)
        return JobReports(job, "/model")

    def until(self, look) -> None:
        def tend() -> bool:
            self.process.tend(time.monotonic(), self._start)
            return bool(look())

        until(tend)


@pytest.fixture
def tend(zygote, tmp_path):
    made = []

    def start(times: int, to_load: float = LONG, to_answer: float = LONG) -> Tended:
        made.append(Tended(zygote, tmp_path, Patience(to_load, to_answer), times))
        return made[-1]

    yield start
    for one in made:
        one.process.close()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_one_that_never_loads(tend, caplog):
    one = tend(times=0, to_load=0.3)
    one.until(lambda: len(one.started) == 2)
    assert gone(one.started[0])
    assert f"m v1 (process {one.started[0]}) did not load its model within 0.3 s" in caplog.text
    assert "signal 9" in caplog.text
    assert HUNG == why_gone(one.path).reason


def test_one_that_answers_and_then_no_more(tend, caplog):
    one = tend(times=2, to_answer=0.5)
    one.until(lambda: complaint_of(one.path))
    assert Complaint(HUNG, "did not answer for 0.5 s") == complaint_of(one.path)
    one.until(lambda: len(one.started) == 2)
    assert gone(one.started[0])
    assert "did not answer for 0.5 s" in caplog.text


def test_one_that_a_frontend_complains_of(tend, caplog):
    """It is killed though it answers; what was said is not held against the next one."""
    one = tend(times=10**6)
    one.until(lambda: one.started)
    complain(one.path, Complaint(BROKEN, "sent what was not asked for"))
    one.until(lambda: len(one.started) == 2)
    assert gone(one.started[0])
    assert "sent what was not asked for" in caplog.text
    assert complaint_of(one.path) is None
    assert BROKEN == why_gone(one.path).reason  # for frontends, while the next one starts
    one.until(lambda: why_gone(one.path) is None)
    assert 2 == len(one.started)


def test_one_that_answers_is_left_alone(tend, caplog):
    caplog.set_level(logging.WARNING)
    one = tend(times=10**6, to_load=10, to_answer=8)
    one.until(lambda: one.started)
    begun = time.monotonic()
    one.until(lambda: time.monotonic() > begun + 0.5)
    assert 1 == len(one.started)
    assert "" == caplog.text
    assert not one.process.is_silent(time.monotonic())


def test_a_silent_one_is_known_to_be_before_it_is_killed(tend):
    one = tend(times=1)
    one.until(lambda: one.process.is_silent(time.monotonic()))
    assert 1 == len(one.started)


def test_callers_can_connect_while_there_is_no_process(tend):
    one = tend(times=1)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(one.path))
        one.until(lambda: one.started)


def test_sockets_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("10.sock", "2.sock", "0.sock", "2.why", "3.before"):
        (tmp_path / name).touch()
    assert ["0.sock", "2.sock", "10.sock"] == [path.name for path in sockets_in(tmp_path)]
    assert [] == sockets_in(tmp_path / "none")


def test_a_complaint_about_a_version_that_is_gone_is_no_error(tmp_path):
    complain(tmp_path / "none" / "0.sock", Complaint(HUNG, "did not answer"))
    assert why_gone(tmp_path / "none" / "0.sock") is None


def test_one_that_ends_while_it_loads_is_given_up_after_three_times(tend):
    """It is tried again all the same."""
    one = tend(times=10**6)
    works = one.job
    one.job = "jailed:exit_with", {"code": 3}
    one.until(lambda: one.process.failure)
    assert 3 == len(one.started)
    said = "its process ended while it loaded the model (code 3 "
    assert one.process.failure.startswith(said)
    one.job = works
    one.until(lambda: len(one.started) == 4)


def test_a_socket_whose_file_is_removed_is_made_again(tend):
    """Callers can connect again, and the process that runs stays."""
    one = tend(times=1)
    one.until(lambda: one.started)
    shutil.rmtree(one.path.parent)
    one.until(one.path.exists)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(one.path))
    assert 1 == len(one.started)
