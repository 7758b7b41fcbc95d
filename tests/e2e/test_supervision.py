"""Nothing but a stop ends a server: processes hang, files go, the registry and the machine fail.

Every fault is a real one: signals, limits of the kernel, files removed, databases stopped.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.postgres import Cluster, running_cluster
from tests.fixtures.served import BIN, Served, children_of, start, stop, until

ROW = [[5.1, 3.5, 1.4, 0.2]]
KILLS = 4
FRONTEND = "frontend-"
DEPLOYER = "deployer"
ZYGOTE = "pushserve_sandbox"


def sources(hub: GitHost) -> str:
    return f'[[sources]]\nurl = "{hub.address}/**"\ntrust = "code"\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """A server that soon takes a process for hung; it is started where few files may be open."""
    settings = {"frontends": 1, "hang_timeout": 3, "lease": 2}
    with limited(resource.RLIMIT_NOFILE, 512, os.getpid()):
        server = start(tmp_path_factory.mktemp("server"), sources(hub), settings)
    yield server
    stop(server)


@pytest.fixture(scope="module")
def first(served: Served, hub: GitHost) -> Repo:
    """A model that is live: tests take the next version of it live."""
    repo = hub.create("first")
    repo.commit(models.answering_files("v1"))
    served.ready(repo.url)  # so the zygote has come up
    return repo


@pytest.fixture
def repo(served: Served, first: Repo) -> Repo:
    """That model, when what the test before it did is over."""
    until(served.is_settled)
    return first


def version_of(served: Served, repo: Repo) -> int:
    """Give the number of the version that is live."""
    return served.stub.Get(pb.GetRequest(model=repo.name), timeout=20).version.number


def push_and_predict(served: Served, repo: Repo) -> None:
    """A server that works takes the next version live, and answers with it."""
    number = version_of(served, repo) + 1
    repo.commit(models.answering_files(f"v{number}"))
    assert number == served.ready(repo.url).version
    assert number == served.predict(repo.name, ROW).version


def count(served: Served, text: str) -> int:
    return served.log.read_text().count(text)


@contextlib.contextmanager
def frontend_starts_again(served: Served) -> Iterator[None]:
    """Whatever the block does, a frontend gets ready after it has begun."""
    before = count(served, "answering on")
    yield
    until(lambda: count(served, "answering on") > before)


@contextlib.contextmanager
def limited(kind: int, value: int, *pids: int) -> Iterator[None]:
    """Lower a limit of running processes for the block."""
    before = {pid: resource.prlimit(pid, kind) for pid in pids}
    for pid, (_, most) in before.items():
        resource.prlimit(pid, kind, (value, most))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, kind, limits)


def descriptors_for(pid: int, more: int) -> int:
    """Give the limit under which a process can open so many more files."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    free = (number for number in range(1 << 20) if number not in used)
    return [next(free) for _ in range(more + 1)][-1]


def test_every_process_may_open_many_files(served: Served):
    """As many as the system lets it: those that are forked as well."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    pids = [served.process.pid, *served.pids(FRONTEND), *served.pids(DEPLOYER)]
    found = {resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in pids}
    assert (3, {min(most, 65_536)}) == (len(pids), found)


def test_a_frontend_that_hangs_is_replaced(served: Served, repo: Repo):
    (frontend,) = served.pids(FRONTEND)
    with frontend_starts_again(served):
        os.kill(frontend, signal.SIGSTOP)
    assert frontend not in served.pids(FRONTEND)
    # All of its loops stand still; whichever is looked at first is named.
    said = r"frontend-0 lives and does not answer \(its [^()]+ stood still for \d+ s\)"
    assert 1 == len(re.findall(said, served.log.read_text()))
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_deployer_that_hangs_is_replaced(served: Served, repo: Repo):
    (deployer,) = served.pids(DEPLOYER)
    os.kill(deployer, signal.SIGSTOP)
    push_and_predict(served, repo)
    assert deployer not in served.pids(DEPLOYER)
    assert 1 == count(served, "deployer lives and does not answer (its main thread stood still")


def test_a_zygote_that_hangs_is_replaced(served: Served, repo: Repo):
    """Meanwhile a frontend that ends is started again: nobody waits for the zygote."""
    (zygote,) = served.pids(ZYGOTE)
    (worker, *_) = served.pids("worker")
    os.kill(zygote, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)  # so that a worker is asked for
    with frontend_starts_again(served):
        os.kill(served.pids(FRONTEND)[0], signal.SIGKILL)
    until(lambda: zygote not in served.pids(ZYGOTE))
    assert 1 == count(served, "the zygote lives and has not answered for 3 s")
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_zygote_that_ends_before_it_is_ready_is_started_again(tmp_path: Path, hub: GitHost):
    """At the first start too, and as often as it takes."""
    killed: set[int] = set()

    def kill_zygotes(server: int) -> None:
        def kill_one() -> bool:
            for pid, line in children_of(server).items():
                if ZYGOTE in line and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            return len(killed) == 3

        until(kill_one)

    server = start(tmp_path, sources(hub), {"frontends": 1}, meanwhile=kill_zygotes)
    try:
        repo = hub.create("zygote-that-ends")
        repo.commit(models.answering_files("v1"))
        server.ready(repo.url)
        push_and_predict(server, repo)
    finally:
        stop(server)


def test_a_run_folder_that_was_removed_is_made_again(served: Served, repo: Repo):
    """Nothing is started anew for it; what starts later finds all that it needs."""
    version = version_of(served, repo)
    before = set(served.pids(ZYGOTE)), set(served.pids("worker"))
    names = {path.relative_to(served.run_dir) for path in served.run_dir.rglob("*.*")}
    shutil.rmtree(served.run_dir, ignore_errors=True)  # some of it may be there again already
    until(lambda: names <= {p.relative_to(served.run_dir) for p in served.run_dir.rglob("*.*")})
    assert before == (set(served.pids(ZYGOTE)), set(served.pids("worker")))
    assert 0o700 == served.run_dir.stat().st_mode & 0o777
    with frontend_starts_again(served):
        os.kill(served.pids(FRONTEND)[0], signal.SIGKILL)
    assert version == served.predict(repo.name, ROW).version
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_lock_and_an_address_that_were_removed_are_made_again(served: Served, repo: Repo):
    """So no second server takes the data directory meanwhile."""
    lock, address = served.data_dir / "lock", served.data_dir / "server.json"
    said = address.read_text()
    lock.unlink()
    address.unlink()
    until(lambda: lock.exists() and address.exists())
    assert said == address.read_text()
    second = subprocess.run(
        [BIN / "pushserve", "serve"],
        env={**os.environ, **served.settings, "PUSHSERVE_LISTEN": "127.0.0.1:0"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (1, True) == (second.returncode, b"another server runs" in second.stderr)
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_supervisor_without_descriptors_goes_on(served: Served, repo: Repo):
    server = served.process.pid
    with frontend_starts_again(served), limited(resource.RLIMIT_NOFILE, 3, server):
        os.kill(served.pids(FRONTEND)[0], signal.SIGKILL)
        until(lambda: "Too many open files" in served.log.read_text())
    push_and_predict(served, repo)


@pytest.mark.parametrize(
    ("descriptors", "said"),
    [
        (0, "no connection can be accepted: Too many open files"),
        (1, "the job's descriptors cannot be taken"),
        (3, "the sandbox: the job cannot be started"),  # it is forked, and cannot be watched
    ],
)
@pytest.mark.long
def test_a_zygote_that_cannot_start_a_build_is_asked_again(
    served: Served, hub: GitHost, descriptors: int, said: str
):
    """A build takes a connection, two descriptors and one to watch it by."""
    until(served.is_settled)
    repo = hub.create(f"no-{descriptors}-descriptors")
    repo.commit(models.answering_files("v1"))
    (zygote,) = served.pids(ZYGOTE)
    with limited(resource.RLIMIT_NOFILE, descriptors_for(zygote, descriptors), zygote):
        reply = served.stub.Register(pb.RegisterRequest(source=repo.url), timeout=20)
        until(lambda: said in served.log.read_text())
    deployment = served.follow(reply.deployment.name)
    assert pb.DEPLOYMENT_STATE_READY == deployment.state, deployment
    push_and_predict(served, repo)


def test_a_zygote_that_cannot_start_a_worker_is_asked_again(served: Served, repo: Repo):
    """It has two descriptors for each that runs, and needs five for one."""
    (zygote,) = served.pids(ZYGOTE)
    first, *_ = workers = served.pids("worker")
    # Which step fails depends on the numbers that those before had: of the zygote, or of its child,
    # which cannot enter its jail (code 71).
    said = re.compile(r"cannot be started yet: the sandbox: the job|ended: code 71 ")
    with limited(resource.RLIMIT_NOFILE, descriptors_for(zygote, 2), zygote):
        os.kill(first, signal.SIGKILL)
        until(lambda: said.search(served.log.read_text()))
    until(lambda: len(served.pids("worker")) == len(workers))
    push_and_predict(served, repo)


def test_a_registry_that_is_locked_holds_up_nobody_else(served: Served, repo: Repo):
    """A frontend that ended is started while the registry cannot note that it has."""
    (frontend,) = served.pids(FRONTEND)
    with contextlib.closing(sqlite3.connect(served.data_dir / "registry.sqlite3")) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with frontend_starts_again(served):
            os.kill(frontend, signal.SIGKILL)
            until(lambda: {frontend} != set(served.pids(FRONTEND)) != set(), 20)
            other.execute("ROLLBACK")
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_full_disk_ends_nothing_for_good(served: Served, repo: Repo):
    """No process of the server can write a file, the registry's included."""
    pids = [served.process.pid, *served.pids(FRONTEND), *served.pids(DEPLOYER)]
    with frontend_starts_again(served):
        with limited(resource.RLIMIT_FSIZE, 0, *pids):
            ended: set[int] = set()
            while len(ended) < 3:
                (frontend,) = until(lambda: set(served.pids(FRONTEND)) - ended)
                os.kill(frontend, signal.SIGKILL)
                ended.add(frontend)
        for pid in served.pids(FRONTEND):  # one that was started with that limit
            os.kill(pid, signal.SIGKILL)
    push_and_predict(served, repo)


@pytest.mark.long
def test_a_frontend_that_gets_ready_is_started_again_at_once_however_often_it_ends(served: Served):
    said = "frontend-0 ended with signal 9; starting it again in"
    before = served.log.read_text().count(said)
    for _ in range(KILLS):
        with frontend_starts_again(served):
            os.kill(served.pids(FRONTEND)[0], signal.SIGKILL)
    waits = [line.split(said)[1] for line in served.log.read_text().splitlines() if said in line]
    assert [" 0.1 s"] * KILLS == waits[before:]


def test_a_hangup_ends_nothing(served: Served, repo: Repo):
    version = version_of(served, repo)
    lasting = {served.process.pid, *served.pids("fork_server"), *served.pids(ZYGOTE)}
    assert 5 == len(lasting)
    for pid in {*lasting, *served.pids("worker")}:
        os.kill(pid, signal.SIGHUP)
    until(lambda: count(served, "SIGHUP is ignored") == 1)
    assert version == served.predict(repo.name, ROW).version
    push_and_predict(served, repo)
    assert lasting <= {served.process.pid, *served.children()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.mark.long
@pytest.mark.postgres
def test_a_server_that_starts_before_its_database_waits_for_it(cluster: Cluster, tmp_path: Path):
    """It says what is wrong; SIGTERM ends the wait, too."""
    url = cluster.new_database()
    cluster.stop()
    log = tmp_path / "server.log"

    def go_on(_pid: int) -> None:
        until(lambda: log.exists() and "nothing answers at its address" in log.read_text())
        cluster.go_on()

    server = start(tmp_path, "", {"frontends": 1, "database_url": url}, meanwhile=go_on)
    try:
        assert [] == list(server.stub.List(pb.ListRequest(), timeout=20).models)
        assert 1 == log.read_text().count("waiting for it")
    finally:
        stop(server)
    cluster.stop()
    try:
        log.unlink()
        with log.open("wb") as output:
            waiting = subprocess.Popen(
                [BIN / "pushserve", "serve"], env={**os.environ, **server.settings}, stderr=output
            )
        until(lambda: "waiting for it" in log.read_text())
        waiting.send_signal(signal.SIGTERM)
        assert 0 == waiting.wait(30)
        assert "Traceback" not in log.read_text()
    finally:
        cluster.go_on()


@pytest.mark.postgres
@pytest.mark.long
def test_a_registry_that_is_away_ends_nothing(cluster: Cluster, hub: GitHost, tmp_path: Path):
    """Frontend and deployer end meanwhile; they are back as soon as it is. So is the drain."""
    settings = {"frontends": 1, "database_url": cluster.new_database(), "lease": 2}
    server = start(tmp_path, sources(hub), settings)
    try:
        repo = hub.create("registry-away")
        repo.commit(models.answering_files("v1"))
        server.ready(repo.url)
        cluster.stop()
        with frontend_starts_again(server):
            for what in (FRONTEND, DEPLOYER):
                os.kill(server.pids(what)[0], signal.SIGKILL)
            until(lambda: count(server, "frontend-0 ended with code 1") >= 1)
            cluster.go_on()
        push_and_predict(server, repo)
        cluster.stop()
        server.process.send_signal(signal.SIGTERM)
        assert 0 == server.process.wait(40)
        log = server.log.read_text()
        assert "Traceback" not in log
        # Each of its processes says so once a minute, and once more as it ends or starts.
        said = log.count("the registry's database cannot be used just now: nothing answers")
        assert 3 <= said <= 20, log
    finally:
        with contextlib.suppress(AssertionError):
            cluster.go_on()
        stop(server)
