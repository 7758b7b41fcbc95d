"""The zygote forks jobs, tells their end, and leaves none behind."""

import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pushserve_runtime import messages
from pushserve_runtime.messages import ChannelError
from pushserve_sandbox.zygote import child
from pushserve_server.errors import Unavailable
from pushserve_server.sandbox_client import Exit, JobPolicy, SandboxClient, end_zygote
from pushserve_server.supervision.zygote_process import ZygoteControl
from tests.fixtures import jailed
from tests.fixtures.served import until
from tests.fixtures.zygote import JOBS, running_zygote, spawn_zygote

DEADLINE = 20.0


def await_end(pidfd):
    """Wait until the process behind a pidfd has ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(pidfd, selectors.EVENT_READ)
        assert selector.select(DEADLINE), "it still runs"
    os.close(pidfd)


def ask(zygote, request, fds=()):
    """Send a request by hand and give the answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(zygote._path))
        messages.send(sock, request, fds)
        return messages.receive(sock, DEADLINE)


@pytest.fixture(scope="module")
def own_process(tmp_path_factory):
    """A zygote's process and itself, to be killed by one test."""
    folder = tmp_path_factory.mktemp("own")
    process = spawn_zygote(folder, JOBS)
    yield process, SandboxClient(folder / "zygote.sock")
    end_zygote(process)


def test_a_job_talks_and_ends(zygote):
    with zygote.start("jailed:wait", {}, JobPolicy()) as running:
        assert {"running": running.pid} == running.receive(DEADLINE)
        assert running.wait(0.01) is None
        running.send({"go": 1})
        ended = running.wait(DEADLINE)
        assert (0, None, True) == (ended.code, ended.signal, ended.ok)
        assert ended is running.wait(0)
        assert running.receive(DEADLINE) is None
    assert 10 << 20 < ended.max_rss < 2 << 30
    assert 0 < ended.cpu_seconds < 10


def test_an_exit_code_is_told(zygote):
    with zygote.start("jailed:exit_with", {"code": 7}, JobPolicy()) as running:
        assert 7 == running.wait(DEADLINE).code
        assert not running.wait(0).ok


def test_what_a_job_raises_is_told(zygote):
    with zygote.start("jailed:fail", {}, JobPolicy()) as running:
        failed = running.receive(DEADLINE)["failed"]
        assert ("ValueError", "this job fails") == (failed["type"], failed["message"])
        assert "in fail" in failed["traceback"]
        assert child.EXIT_FAILED == running.wait(DEADLINE).code


def test_a_jail_that_cannot_be_entered_is_told(zygote, tmp_path):
    policy = JobPolicy(read=(tmp_path / "missing",))
    with zygote.start("jailed:wait", {}, policy) as running:
        failed = running.receive(DEADLINE)["failed"]
        assert "JailError" == failed["type"]
        assert "missing" in failed["message"]
        assert child.EXIT_JAIL == running.wait(DEADLINE).code


def test_kill_ends_a_job(zygote):
    with zygote.start("jailed:wait", {}, JobPolicy()) as running:
        running.receive(DEADLINE)
        running.kill()
        running.kill()
        assert signal.SIGKILL == running.wait(DEADLINE).signal
        with pytest.raises(Unavailable):
            running.send({"too": "late"})


def test_leaving_the_block_ends_a_job(zygote):
    with zygote.start("jailed:wait", {}, JobPolicy()) as running:
        running.receive(DEADLINE)
        pidfd = os.pidfd_open(running.pid)
    await_end(pidfd)


def test_a_client_that_dies_takes_its_job_along(zygote):
    script = (
        "import sys; from pathlib import Path; from pushserve_server.sandbox_client import *\n"
        "job = SandboxClient(Path(sys.argv[1])).start('jailed:wait', {}, JobPolicy())\n"
        "job.receive(20); print(job.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(zygote._path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as client:
        pidfd = os.pidfd_open(int(client.stdout.readline()))
        client.kill()
    await_end(pidfd)


def test_jobs_run_side_by_side(zygote):
    jobs = [zygote.start("jailed:wait", {}, JobPolicy()) for _ in range(5)]
    assert [job.pid for job in jobs] == [job.receive(DEADLINE)["running"] for job in jobs]
    for running in jobs[::-1]:
        running.send({})
        assert running.wait(DEADLINE).ok
        running.close()


def test_a_listener_is_inherited(zygote, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "listener"))
        listener.listen()
        with zygote.start("jailed:reply", {}, JobPolicy(), [listener.fileno()]) as running:
            running.receive(DEADLINE)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "listener"))
                client.sendall(b"hello")
                assert b"HELLO" == client.recv(100)
            # Accepting is no violation.
            assert {"violation": None} == running.receive(DEADLINE)


def test_a_job_that_stalls_or_lies_is_found_out(zygote):
    for kind in ("jailed:stall", "jailed:nest"):
        with zygote.start(kind, {}, JobPolicy()) as running, pytest.raises(ChannelError):
            running.receive(0.5)


def test_a_job_that_does_not_read_holds_nobody_up(zygote):
    with (
        zygote.start("jailed:stall", {}, JobPolicy()) as running,
        pytest.raises(Unavailable, match="does not read"),
    ):
        running.send({"filler": "x" * (4 << 20)}, timeout=0.2)


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ({}, "no job of kind None"),
        ({"kind": "rm"}, "there are build, graph, worker"),
        ({"kind": "jailed:wait", "spec": 3}, "JSON objects"),
        ({"kind": "jailed:wait", "policy": {"reed": []}}, "a policy has no reed"),
        ({"kind": "jailed:wait", "policy": {"read": ["relative"]}}, "absolute path"),
        ({"kind": "jailed:wait", "policy": {"memory": "much"}}, "number of bytes"),
        ({"kind": "jailed:wait", "policy": {"user": 0}}, "uid above 0"),
    ],
)
def test_a_malformed_request_is_refused(zygote, request_, part):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert part in ask(zygote, request_, [theirs.fileno()])["error"]
        theirs.close()
        assert b"" == ours.recv(1), "the zygote keeps the descriptor"


def test_a_request_without_a_channel_is_refused(zygote):
    assert "channel" in ask(zygote, {"kind": "jailed:wait"})["error"]


def test_bytes_that_are_no_message_are_refused(zygote):
    for data in (b"\xff\xff\xff\xff", b"\x02\x00\x00\x00[]", b"\x01\x00\x00\x00{"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(zygote._path))
            sock.sendall(data)
            assert "error" in messages.receive(sock, DEADLINE)


def test_a_slow_client_keeps_nobody_waiting(zygote):
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(zygote._path))
        slow.sendall(b"\x10\x00")
        with zygote.start("jailed:wait", {}, JobPolicy()) as running:
            assert {"running": running.pid} == running.receive(DEADLINE)


def test_a_large_spec_arrives_whole(zygote):
    spec = {"do": "stream_pair", "filler": "x" * (2 << 20)}
    with zygote.start("jailed:attempt", spec, JobPolicy()) as running:
        assert 3 == running.receive(DEADLINE)["value"]


def test_without_a_zygote_jobs_are_unavailable(tmp_path):
    with pytest.raises(Unavailable, match=r"zygote does not answer at .*none\.sock") as caught:
        SandboxClient(tmp_path / "none.sock").start("build", {}, JobPolicy())
    assert "SANDBOX_UNAVAILABLE" == caught.value.code_reason


@pytest.mark.parametrize(
    ("more", "said"),
    [(1, "the job's descriptors cannot be taken"), (3, "the job cannot be started")],
)
def test_a_zygote_that_can_open_too_few_files_is_unavailable(own_process, more, said):
    """Without one for the connection it waits; then for the job's two, and for watching it."""
    process, zygote = own_process
    jobs = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(
        lambda: not jobs.read_text()
    )  # an earlier one may still be about to give descriptors back
    used = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    free = [number for number in range(200) if number not in used]
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free[more], limits[1]))
    try:
        with pytest.raises(Unavailable, match=said) as caught:
            zygote.start("jailed:wait", {}, JobPolicy())
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    assert "SANDBOX_UNAVAILABLE" == caught.value.code_reason
    with zygote.start("jailed:wait", {}, JobPolicy()) as running:
        assert {"running": running.pid} == running.receive(DEADLINE)


@pytest.mark.long
def test_a_zygote_that_cannot_fork_is_unavailable():
    """As nobody, whose processes the kernel counts; those of root it does not."""
    script = Path(jailed.__file__).with_name("unprivileged.py")
    done = subprocess.run(
        [sys.executable, str(script), "cannot_fork"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "the job cannot be started: [Errno 11]" in done.stdout
    assert done.stdout.endswith("it runs\n")


def test_a_zygote_says_that_it_lives_and_listens_elsewhere(own_process):
    process, zygote = own_process
    control = ZygoteControl(zygote._path)
    try:
        for answered in range(1, 4):
            until(lambda: control.ask_if_alive() or control.answers == answered)  # noqa: B023
        zygote._path.unlink()
        with pytest.raises(Unavailable):
            zygote.start("jailed:wait", {}, JobPolicy())
        control.keep_reachable()
        control.keep_reachable()
        with zygote.start("jailed:wait", {}, JobPolicy()) as running:
            assert {"running": running.pid} == running.receive(DEADLINE)
        assert 0o600 == zygote._path.stat().st_mode & 0o777
    finally:
        control.close()
    assert process.poll() is None


def test_nobody_asks_a_zygote_anything_else(own_process):
    _, zygote = own_process
    for asked in ({"ask": "end"}, {"ask": "listen"}):  # the second without a socket
        assert "nobody asks that" in ask(zygote, asked)["error"]


def test_test_jobs_are_for_tests_only():
    request = {"kind": "jailed:wait"}
    assert "jailed:wait" == child.JobRequest.from_json(request, test_jobs=True).kind
    with pytest.raises(ValueError, match="no job of kind"):
        child.JobRequest.from_json(request, test_jobs=False)


def test_only_the_owner_can_reach_the_socket(zygote):
    assert 0o600 == zygote._path.stat().st_mode & 0o777


def test_the_zygote_has_one_thread_and_no_environment(own_process):
    process, _ = own_process
    assert 1 == len(list(Path(f"/proc/{process.pid}/task").iterdir()))
    names = Path(f"/proc/{process.pid}/environ").read_text().rstrip("\0").split("\0")
    assert all(name.startswith(("OMP", "OPENBLAS", "MKL", "LANG", "LOKY", "ORT")) for name in names)


def test_children_are_reaped(own_process):
    process, zygote = own_process
    with zygote.start("jailed:exit_with", {"code": 0}, JobPolicy()) as running:
        running.wait(DEADLINE)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert str(running.pid) not in children


def test_the_zygotes_death_ends_its_jobs(own_process):
    """Last of those that use this zygote."""
    process, zygote = own_process
    with zygote.start("jailed:wait", {}, JobPolicy()) as running:
        running.receive(DEADLINE)
        pidfd = os.pidfd_open(running.pid)
        process.kill()
        await_end(pidfd)
        with pytest.raises(Unavailable, match="the zygote has ended"):
            running.wait(DEADLINE)
    with pytest.raises(Unavailable):
        zygote.start("jailed:wait", {}, JobPolicy())


def test_the_zygote_ends_with_its_starter(tmp_path):
    with running_zygote(tmp_path) as zygote:
        assert (tmp_path / "zygote.sock").exists()
        with zygote.start("jailed:wait", {}, JobPolicy()) as running:
            running.receive(DEADLINE)
    process = spawn_zygote(tmp_path)  # takes the stale socket's place
    process.stdin.close()
    assert 0 == process.wait(DEADLINE)
    end_zygote(process)


def test_an_exit_knows_whether_it_was_good():
    assert Exit(0, None, 0, 0.0).ok
    assert not Exit(None, 9, 0, 0.0).ok


def test_jailed_attempts_report_errors_by_name():
    """The tests of the jail rest on this."""
    assert {"error": "FileNotFoundError", "errno": "ENOENT"} == jailed.outcome_of(
        "read_file", path="/nowhere"
    )
