"""The fork server and what it forks: real processes, signals, and an end of each of them."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushserve_server.processes.boot import Boot
from pushserve_server.settings import Settings
from pushserve_server.supervision.forked_process import (
    UNKNOWN_CODE,
    ForkedProcess,
    ForkServer,
)
from pushserve_server.supervision.heartbeat import Heartbeats
from tests.fixtures.fork_server import forking, until_ready
from tests.fixtures.served import children_of, until

SECRET = "postgresql://somebody:hush@127.0.0.1/registry"


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    with forking() as running:
        yield running


def pid_of(fork_server: ForkServer) -> int:
    assert fork_server._process is not None
    return fork_server._process.pid


def fork(fork_server: ForkServer, folder: Path, name: str = "waits") -> ForkedProcess:
    boot = Boot(name, "replica", folder, 0, Settings(database_url=SECRET))
    return fork_server.fork("tests.fixtures.fork_server", boot.to_json(), Heartbeats.create())


def told(folder: Path, name: str = "waits") -> dict:
    file = folder / f"{name}.json"
    until(file.exists)
    return json.loads(file.read_text())


def ended(process: ForkedProcess) -> int:
    return until(lambda: (process.poll(),) if process.poll() is not None else None)[0]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_process_gets_what_it_needs_and_nothing_of_others(fork_server, tmp_path):
    (tmp_path / "other").mkdir()
    other = fork(fork_server, tmp_path / "other")
    told(tmp_path / "other")
    process = fork(fork_server, tmp_path)
    said = told(tmp_path)
    until(lambda: process.poll() is None and process.pid)
    assert process.pid == said["pid"] == said["session"]
    assert SECRET == said["secret"]
    kinds = {name.partition(":")[0] for name in said["descriptors"]}
    assert not {"socket", "anon_inode"} & kinds  # the supervisor's line, others' pidfds
    assert "hush" not in " ".join(children_of(os.getpid()).values())
    for one in (process, other):
        one.kill()
        assert -signal.SIGKILL == ended(one)


def test_it_is_told_how_a_process_ends(fork_server, tmp_path):
    assert 3 == ended(fork(fork_server, tmp_path, "code 3"))
    process = fork(fork_server, tmp_path)
    told(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.0)
    process.terminate()
    assert -signal.SIGTERM == process.wait(20)


def test_a_process_whose_supervisor_lets_go_stops(fork_server, tmp_path):
    process = fork(fork_server, tmp_path)
    told(tmp_path)
    os.close(process._lifeline)
    process._lifeline = os.open(os.devnull, os.O_RDONLY)
    assert 0 == ended(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_all_do_not_end_it(fork_server, tmp_path, number):
    """A service manager sends SIGTERM to every process; what was forked still drains."""
    os.kill(pid_of(fork_server), number)
    assert 3 == ended(fork(fork_server, tmp_path, "code 3"))


def test_a_process_outlives_its_fork_server(tmp_path):
    with forking() as fork_server:
        process = fork(fork_server, tmp_path)
        told(tmp_path)
        lost = pid_of(fork_server)
        os.kill(lost, signal.SIGKILL)
        until(lambda: fork_server.tend(time.monotonic()))
        assert None is process.poll()
        until_ready(fork_server)
        assert lost != pid_of(fork_server)
        process.kill()
        assert UNKNOWN_CODE == ended(process)
        until(lambda: not lives(process.pid))
        assert 3 == ended(fork(fork_server, tmp_path, "code 3"))


def test_nobody_waits_for_a_fork_server_that_hangs(tmp_path):
    """What it is asked for is done when it goes on, and so is the killing."""
    with forking() as fork_server:
        pid = pid_of(fork_server)
        os.kill(pid, signal.SIGSTOP)
        waits, stopped = fork(fork_server, tmp_path), fork(fork_server, tmp_path, "code 3")
        stopped.kill()
        assert [None, None] == [waits.poll(), stopped.poll()]
        os.kill(pid, signal.SIGCONT)
        assert -signal.SIGKILL == ended(stopped)
        told(tmp_path)
        waits.kill()
        assert -signal.SIGKILL == ended(waits)


def test_a_process_that_was_never_forked_has_ended(tmp_path):
    with forking() as fork_server:
        os.kill(pid_of(fork_server), signal.SIGSTOP)
        process = fork(fork_server, tmp_path)
        os.kill(pid_of(fork_server), signal.SIGKILL)
        assert UNKNOWN_CODE == ended(process)
        assert not (tmp_path / "waits.json").exists()


def test_one_that_can_open_no_more_files_is_started_again(tmp_path):
    """What cannot be handed over to it is told as ended, and tried again by the next one."""
    with forking() as fork_server:
        pid = pid_of(fork_server)
        used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        free = [number for number in range(len(used) + 100) if number not in used]
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[1], most))
        assert UNKNOWN_CODE == ended(fork(fork_server, tmp_path, "code 3"))
        until(lambda: fork_server.tend(time.monotonic()))
        until_ready(fork_server)
        assert 3 == ended(fork(fork_server, tmp_path, "code 3"))


@pytest.mark.parametrize("size", [10_000, 500_000])
def test_settings_of_any_length_are_handed_over_at_once(fork_server, tmp_path, size):
    """Also while the fork server hangs, more than a pipe holds by itself."""
    long = f"{SECRET}?x={'y' * size}"
    boot = Boot("waits", "replica", tmp_path, 0, Settings(database_url=long))
    os.kill(pid_of(fork_server), signal.SIGSTOP)
    process = fork_server.fork("tests.fixtures.fork_server", boot.to_json(), Heartbeats.create())
    os.kill(pid_of(fork_server), signal.SIGCONT)
    assert long == told(tmp_path)["secret"]
    process.kill()
    assert -signal.SIGKILL == ended(process)
