"""Everything a job must not do fails in the jail, and works outside of it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pushserve_runtime.job_policy import job_environment
from pushserve_sandbox.isolation import jail, landlock, privileges
from pushserve_server.sandbox_client import JobPolicy
from tests.fixtures import jailed

MEMORY = 1 << 30


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    """A folder that the user of a job could read and write, were it not for the jail."""
    folder = tmp_path / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "file").write_bytes(b"secret")
    (folder / "file").chmod(0o666)
    tmp_path.chmod(0o755)
    return folder


@pytest.fixture
def attempt(zygote, scratch):
    """Run one of `jailed`'s functions in a job, and give its outcome."""

    def run(do, *, fds=(), policy=None, **args):
        policy = policy or JobPolicy(write=(scratch,), memory=MEMORY, cpu_seconds=20)
        with zygote.start("jailed:attempt", {"do": do, "args": args}, policy, fds) as job:
            outcome = job.receive(30)
            assert outcome is not None, job.wait(5)
            return outcome

    return run


@pytest.fixture
def victim():
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


def denied(outcome):
    return outcome.get("errno") or outcome.get("error")


def test_this_machine_supports_the_jail():
    assert [] == jail.supported()


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/1/environ", "/proc/self/environ"])
def test_files_of_the_system_cannot_be_read(attempt, path):
    # In a container, root may not read the environment of process 1 either.
    assert path == "/proc/1/environ" or "value" in jailed.outcome_of("read_file", path=path)

    outcome = attempt("read_file", path=path)

    assert "EACCES" == outcome["errno"]
    assert outcome["violation"][0] == "file"
    assert path in outcome["violation"][1]


def test_files_of_the_server_and_of_other_jobs_cannot_be_read(attempt, outside):
    for do, path in (("read_file", outside / "file"), ("list_folder", outside)):
        assert "value" in jailed.outcome_of(do, path=str(path))
        assert "EACCES" == attempt(do, path=str(path))["errno"]


def test_the_environment_of_the_server_cannot_be_read(attempt):
    path = f"/proc/{os.getpid()}/environ"
    assert "value" in jailed.outcome_of("read_file", path=path)
    assert "EACCES" == attempt("read_file", path=path)["errno"]


def test_a_jobs_own_input_can_be_read_and_not_changed(attempt, outside, scratch):
    policy = JobPolicy(read=(outside,), write=(scratch,))
    path = str(outside / "file")

    assert attempt("read_file", path=path, policy=policy)["value"] == 6
    assert "EACCES" == attempt("write_file", path=path, policy=policy)["errno"]
    assert "EACCES" == attempt("remove_file", path=path, policy=policy)["errno"]
    assert "EACCES" == attempt("write_file", path=str(outside / "new"), policy=policy)["errno"]
    assert b"secret" == (outside / "file").read_bytes()
    assert "value" in jailed.outcome_of("write_file", path=path)


def test_an_input_that_only_root_can_read_is_readable(attempt, tmp_path):
    file = tmp_path / "private"
    file.write_bytes(b"1234")
    file.chmod(0o600)
    assert attempt("read_file", path=str(file), policy=JobPolicy(read=(file,)))["value"] == 4


def test_scratch_is_for_plain_files_and_folders(attempt, scratch, tmp_path):
    assert str(scratch) == attempt("work_in_folder", path=str(scratch))["value"]
    assert "value" in jailed.outcome_of("work_in_folder", path=str(tmp_path))


def test_nothing_can_be_left_that_points_outside(attempt, scratch, outside, tmp_path):
    target = str(outside / "file")
    cases = (("make_symlink", "EACCES"), ("hard_link", "EXDEV"))
    for do, code in cases:
        assert "value" in jailed.outcome_of(do, path=str(tmp_path / do), target=target)
        assert denied(attempt(do, path=str(scratch / do), target=target)) in {code, "EACCES"}
    assert "value" in jailed.outcome_of("make_fifo", path=str(tmp_path / "fifo"))
    assert "EPERM" == attempt("make_fifo", path=str(scratch / "fifo"))["errno"]
    assert [] == list(scratch.iterdir())


def test_writing_outside_is_denied(attempt, outside):
    assert "value" in jailed.outcome_of("write_file", path=str(outside / "a"))
    assert "EACCES" == attempt("write_file", path=str(outside / "b"))["errno"]
    assert not (outside / "b").exists()


def test_what_landlock_does_not_cover_is_denied(attempt, outside):
    """Modes, and truncation by an open for reading (before ABI 3)."""
    path = str(outside / "file")
    assert "EPERM" == attempt("change_mode", path=path)["errno"]
    policy = JobPolicy(read=(outside,))
    assert "ENOSYS" == attempt("truncate_while_reading", path=path, policy=policy)["errno"]
    assert b"secret" == (outside / "file").read_bytes()

    assert "value" in jailed.outcome_of("change_mode", path=path)
    assert "value" in jailed.outcome_of("truncate_while_reading", path=path)
    assert b"" == (outside / "file").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="file handles are root's")
def test_a_file_handle_is_no_way_around_paths(attempt, outside):
    path = str(outside / "file")
    if "value" not in jailed.outcome_of("open_by_handle", path=path):
        pytest.skip("this file system has no handles, or this root may not use them")
    assert "EPERM" == attempt("open_by_handle", path=path)["errno"]


def test_tcp_and_udp_are_denied(attempt):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for do in ("tcp", "udp"):
            assert "value" in jailed.outcome_of(do, port=port)
            outcome = attempt(do, port=port)
            assert "EPERM" == outcome["errno"]
            assert "network" == outcome["violation"][0]


def test_unix_sockets_are_denied(attempt, outside):
    addresses = (str(outside / "socket"), f"\0pushserve-test-{os.getpid()}")
    for address in addresses:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen()
            if address[0] == "/":
                Path(address).chmod(0o777)
            assert "value" in jailed.outcome_of("unix", address=address)
            assert "EPERM" == attempt("unix", address=address)["errno"]
            with socket.socket(socket.AF_UNIX) as client:
                args = {"fds": [client.fileno()], "address": address}
                assert "EPERM" == attempt("connect_inherited", **args)["errno"]
                jailed.connect_inherited(client, address)


def test_an_inherited_socket_cannot_be_bound(attempt):
    with socket.socket(socket.AF_UNIX) as sock:
        assert "EPERM" == attempt("bind_inherited", fds=[sock.fileno()])["errno"]
        assert "value" in jailed.outcome_of("bind_inherited", sock=sock)


def test_a_datagram_pair_cannot_reach_sockets_by_path(attempt, outside):
    address = str(outside / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        Path(address).chmod(0o777)
        assert jailed.outcome_of("datagram_pair", address=address)["value"] == 1
        assert "EPERM" == attempt("datagram_pair", address=address)["errno"]
    assert attempt("stream_pair")["value"] == 3


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("fork", "EPERM"),
        ("thread", "RuntimeError"),
        ("run_program", "EPERM"),
        ("execute", "EPERM"),
        ("memory_file", "EPERM"),
        ("new_namespace", "EPERM"),
        ("become_root", "EPERM"),
        ("outlive_parent", "ENOSYS"),
        ("ring", "EPERM"),
    ],
)
def test_a_system_call_is_denied(attempt, do, expected):
    control = jailed.outcome_of(do)
    if control.get("errno") in {"EPERM", "ENOSYS"}:
        pytest.skip(f"{do} does not work outside either: {control}")

    assert expected == denied(attempt(do))
    assert control.get("errno") in {None, "ENOENT"}


def test_no_program_is_run(attempt):
    assert 3 << 8 == jailed.outcome_of("system")["value"]
    outcome = attempt("system")
    assert 3 << 8 != outcome["value"]
    assert "process" == outcome["violation"][0]


def test_a_fork_bomb_starts_nothing(attempt):
    assert jailed.outcome_of("fork_bomb", tries=2)["value"] == 2
    assert attempt("fork_bomb", tries=1000)["value"] == 0


@pytest.mark.parametrize("do", ["probe", "queue_signal", "trace", "read_memory"])
def test_other_processes_are_out_of_reach(attempt, zygote, scratch, victim, do):
    control = jailed.outcome_of(do, pid=victim)
    if control.get("errno") == "EPERM":
        pytest.skip(f"{do} is denied outside too")
    assert control.get("errno") in {None, "EINVAL"}

    with zygote.start("jailed:wait", {}, JobPolicy()) as other:
        assert other.receive(10) == {"running": other.pid}
        for pid in (victim, os.getpid(), other.pid):
            assert "EPERM" == attempt(do, pid=pid)["errno"]


def test_a_descriptor_cannot_be_made_to_signal_others(attempt, victim):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outcome = attempt("signal_owner", fds=[theirs.fileno()], pid=victim)
        assert "ENOSYS" == outcome["errno"]
        assert "value" in jailed.outcome_of("signal_owner", sock=ours, pid=victim)


def test_a_job_may_signal_itself(attempt):
    assert attempt("own_signal")["value"] == 1


def test_memory_is_bounded(attempt, scratch):
    policy = JobPolicy(write=(scratch,), memory=200 << 20)
    assert "value" in jailed.outcome_of("allocate", size=400 << 20)
    assert "ENOMEM" == attempt("allocate", size=400 << 20, policy=policy)["errno"]
    outcome = attempt("allocate_bytes", size=400 << 20, policy=policy)
    assert "MemoryError" == outcome["error"]
    assert 100 << 20 == attempt("allocate", size=100 << 20, policy=policy)["value"]


def test_files_are_bounded(attempt, scratch, tmp_path):
    policy = JobPolicy(write=(scratch,), file_size=1 << 20)
    size = 2 << 20
    assert size == jailed.outcome_of("big_file", path=str(tmp_path / "a"), size=size)["value"]
    path = str(scratch / "a")
    assert "EFBIG" == attempt("big_file", path=path, size=size, policy=policy)["errno"]
    assert 1000 == attempt("big_file", path=path, size=1000, policy=policy)["value"]


def test_descriptors_and_limits_are_bounded(attempt):
    assert "value" in jailed.outcome_of("open_many", count=300)
    assert "EMFILE" == attempt("open_many", count=300)["errno"]
    assert denied(attempt("lift_limit")) in {"ValueError", "EPERM"}


@pytest.mark.parametrize(
    ("stubborn", "expected"), [(False, signal.SIGXCPU), (True, signal.SIGKILL)]
)
def test_processor_time_is_bounded(zygote, stubborn, expected):
    spec = {"do": "spin", "args": {"seconds": 30, "stubborn": stubborn}}
    with zygote.start("jailed:attempt", spec, JobPolicy(cpu_seconds=1)) as job:
        ended = job.wait(60)
    assert ended is not None
    assert expected == ended.signal
    assert ended.cpu_seconds < 5


def test_a_job_starts_with_nothing(attempt, scratch):
    seen = attempt("describe")["value"]
    assert 4 == len(seen["descriptors"])
    assert [0, 1, 2] == seen["descriptors"][:3]
    assert str(scratch) == seen["directory"]
    expected = job_environment() | {"HOME": str(scratch), "TMPDIR": str(scratch)}
    assert expected == seen["environment"]
    session, group, parent, own = seen["groups"]
    assert (parent, own) == (session, group)  # see jail._leave_the_parents_things
    # The server's own code lies beside the sandbox's in an editable install.
    assert str(Path(jail.__file__).parents[2]) not in seen["path"] or "site-packages" in __file__


def test_the_kernel_says_that_a_job_is_locked(zygote, scratch):
    with zygote.start("jailed:wait", {}, JobPolicy(write=(scratch,))) as job:
        job.receive(10)
        lines = Path(f"/proc/{job.pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert ("1", "2", "1") == (status["NoNewPrivs"], status["Seccomp"], status["Threads"])
    allowed = {0, 1 << privileges.CAP_DAC_READ_SEARCH if os.geteuid() == 0 else 0}
    assert int(status["CapEff"], 16) in allowed
    assert int(status["CapPrm"], 16) in allowed
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    if os.geteuid() == 0:
        assert 0 == int(status["CapBnd"], 16)
        assert ["65534"] * 4 == status["Uid"].split()
        assert ["65534"] * 4 == status["Gid"].split()
        assert "" == status["Groups"]


def test_random_numbers_differ_between_jobs(attempt):
    first, second = attempt("draw")["value"], attempt("draw")["value"]
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_an_import_that_fails_is_no_violation(attempt):
    outcome = attempt("import_missing")
    assert "ModuleNotFoundError" == outcome["error"]
    assert outcome["violation"] is None


def test_models_work_in_the_jail(attempt):
    outcome = attempt("fit_many")
    assert 60 == outcome.get("value"), outcome
    assert outcome["violation"] is None


def test_a_pickle_gives_the_same_inside(attempt, tmp_path, scratch):
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = load_iris(return_X_y=True)
    model = HistGradientBoostingClassifier(max_iter=3).fit(x, y)
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    policy = JobPolicy(read=(path,), write=(scratch,), memory=MEMORY)

    outcome = attempt("predict", path=str(path), rows=x[::10].tolist(), policy=policy)

    assert model.predict(x[::10]).tolist() == outcome["value"]
    assert outcome["violation"] is None


def test_onnx_runs_in_the_jail(attempt, tmp_path):
    from onnx import TensorProto, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", [x], [y])
    opset = helper.make_opsetid("", 17)
    path = tmp_path / "model.onnx"
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)

    outcome = attempt("run_graph", path=str(path), policy=JobPolicy(read=(path,), memory=MEMORY))

    assert outcome.get("value") == [2.0, 4.0], outcome


def test_skops_loads_in_the_jail(attempt, tmp_path):
    import skops.io
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.skops"
    skops.io.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), path)
    outcome = attempt("load_skops", path=str(path), policy=JobPolicy(read=(path,), memory=MEMORY))
    assert outcome.get("value") == "LogisticRegression", outcome


def test_every_right_of_each_abi_is_handled():
    """Counts from the kernel's documentation: 13 rights at first, 17 with ABI 9."""
    assert [13, 14, 15, 15, 16, 16, 16, 16, 17] == [
        landlock.file_rights(abi).bit_count() for abi in range(1, 10)
    ]


def test_whether_others_can_read_is_seen(tmp_path):
    folder = Path("/usr/share")
    assert privileges.open_to_others([folder], [])
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    assert not privileges.open_to_others([hidden], [])
    assert not privileges.open_to_others([], [hidden])


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without root already")
def test_the_jail_holds_without_root():
    script = Path(jailed.__file__).with_name("unprivileged.py")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "65534 EACCES EPERM EPERM 3" == done.stdout.strip()
