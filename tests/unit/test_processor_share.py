"""Jobs that compute for ever leave others their time, as the kernel counts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pushserve_runtime.job_policy import Policy, nice_of
from pushserve_server.sandbox_client import Job
from pushserve_server.workers.processor_share import ProcessorShare
from tests.fixtures.served import until

AUTOGROUP = Path("/proc/self/autogroup")
needs_autogroups = pytest.mark.skipif(not AUTOGROUP.exists(), reason="no autogroups here")


def cpu_seconds(pids) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def own_nice() -> int:
    """Of this process, and so of the zygote, whose jobs add theirs to it."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def session_nice(pid: int) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def jobs(stack, zygote, count, nice) -> list[int]:
    """Start jobs that compute for ever."""
    spec = {"do": "spin", "args": {"seconds": 1000}}
    started: list[Job] = [
        stack.enter_context(zygote.start("jailed:attempt", spec, Policy(nice=nice)))
        for _ in range(count)
    ]
    return [job.pid for job in started]


def others(stack, count) -> list[int]:
    """Start processes that compute for ever, each as a server's is started."""
    pids = []
    for _ in range(count):
        command = [sys.executable, "-c", "while True: pass"]
        process = subprocess.Popen(command, start_new_session=True)
        stack.callback(process.wait)
        stack.callback(process.send_signal, signal.SIGKILL)
        pids.append(process.pid)
    return pids


def share_of(some, rest) -> float:
    """Of the processor time of both, once all of `some` run."""
    until(lambda: all(cpu_seconds([pid]) > 0.1 for pid in some))
    before = cpu_seconds(some), cpu_seconds(rest)
    until(lambda: cpu_seconds(some) + cpu_seconds(rest) - sum(before) > 1.5, 60)
    mine = cpu_seconds(some) - before[0]
    return mine / (mine + cpu_seconds(rest) - before[1])


def test_two_processes_beside_twenty_jobs_that_compute_for_ever(stack, zygote):
    """Of 22 that are equal they would have a tenth."""
    spinning = jobs(stack, zygote, 20, nice_of(20))
    assert share_of(others(stack, 2), spinning) > 0.5


@needs_autogroups
def test_a_silent_worker_stands_back(stack, zygote):
    """Behind other processes, and behind other workers; until it answers or ends."""
    spinning = jobs(stack, zygote, 3, 0)
    (good,) = jobs(stack, zygote, 1, 0)
    until(lambda: all(cpu_seconds([pid]) > 0.1 for pid in spinning))  # all are in their jails
    share = ProcessorShare()
    until(lambda: share.tend(set(spinning)) or session_nice(good) == "5")
    if os.geteuid() == 0:
        assert share_of([good], spinning) > 0.5
        assert [19] * 3 == [os.getpriority(os.PRIO_PROCESS, pid) for pid in spinning]
    assert share_of(others(stack, 2), [good, *spinning]) > 0.7
    share.tend({spinning[0]})
    assert "5" == session_nice(good)
    until(lambda: share.tend(set()) or session_nice(good) == "0")
    assert {own_nice()} == {os.getpriority(os.PRIO_PROCESS, pid) for pid in [good, *spinning]}


@needs_autogroups
def test_a_silent_worker_that_ends(zygote):
    """What the session gave up is given back though nobody is left to ask about."""
    share = ProcessorShare()
    with (
        zygote.start("jailed:wait", {}, Policy()) as job,
        zygote.start("jailed:wait", {}, Policy()) as other,
    ):
        other.receive(10)
        until(lambda: share.tend({job.pid}) or session_nice(other.pid) == "5")
        job.kill()
        job.wait(10)
        until(lambda: share.tend(set()) or session_nice(other.pid) == "0")


@needs_autogroups
def test_the_servers_own_session_never_stands_back():
    """Asked in a session of its own, as a server's is: the one of a container has no autogroup."""
    code = (
        "import os; from pathlib import Path\n"
        "from pushserve_server.workers.processor_share import ProcessorShare\n"
        "ProcessorShare().tend({os.getpid()})\n"
        "print(Path('/proc/self/autogroup').read_text())"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(
        command, check=True, start_new_session=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert said.endswith("nice 0\n\n")


@pytest.mark.parametrize(("processes", "nice"), [(1, 0), (2, 3), (20, 13), (64, 19)])
def test_many_processes_of_a_model_take_smaller_shares(zygote, processes, nice):
    assert nice == nice_of(processes)
    with zygote.start("jailed:wait", {}, Policy(nice=nice)) as job:
        job.receive(10)
        assert min(own_nice() + nice, 19) == os.getpriority(os.PRIO_PROCESS, job.pid)


def test_a_job_cannot_take_a_larger_share(zygote):
    with zygote.start("jailed:attempt", {"do": "take_more_time"}, Policy(nice=5)) as job:
        assert job.receive(10)["errno"] in ("EPERM", "EACCES")
