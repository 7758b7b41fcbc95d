"""From a push to a ref that has moved, with a real deployer, real git and the real sandbox."""

import json
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pushserve_runtime.signature import Signature
from pushserve_server.build.bundles import Bundles
from pushserve_server.deploy.bundle_repair import Restorer
from pushserve_server.domain.records import EngineName, Trust
from pushserve_server.domain.states import DeploymentState as S
from pushserve_server.errors import NotFound, SourceRefused
from pushserve_server.processes.boot import Boot
from pushserve_server.registry.tables import EPOCH
from pushserve_server.sandbox_client import SandboxClient
from pushserve_server.settings import SourceRule
from pushserve_server.supervision.heartbeat import Heartbeats
from tests.fixtures.deploying import MAIN, calling, iris_model
from tests.fixtures.fork_server import forking
from tests.fixtures.git_server import serve_git


@contextmanager
def failing_fetches(git_host):
    """Answer what asks for refs, and nothing else."""
    git_host.status, git_host.failing = 503, b"command=fetch"
    try:
        yield
    finally:
        git_host.status, git_host.failing = 0, b""


def forget_pauses(registry):
    """Let the time come at which a ref that is left alone is looked at again."""
    with registry._store.writing() as tables:
        tables.deployments.update(retry_at=EPOCH).execute()


@pytest.fixture
def deployer(yard):
    with yard.deployer() as deployer:
        yield deployer


def test_a_push_goes_live_step_by_step(yard, deployer):
    done = yard.live({"model.pkl": iris_model()})
    states = [event.state for event in done.events]
    steps = [S.QUEUED, S.FETCHING, S.CHECKING, S.BUILDING, S.LOADING, S.ACTIVATING, S.READY]
    assert steps == list(dict.fromkeys(states))
    assert ("iris", MAIN, 1) == (done.model, done.ref, done.version)
    version = yard.registry.find_version("iris", number=1)
    assert (yard.repo.git("rev-parse", "main"), EngineName.ONNX) == (
        version.commit,
        version.engine,
    )
    assert ["x0", "x1", "x2", "x3"] == [feature.name for feature in version.signature.inputs]
    assert version.report["timings"]["build_total"] > 0
    bundle = Bundles(yard.settings.data_dir / "bundles").verify(version.digest)
    assert iris_model() == (bundle.folder / "model.pkl").read_bytes()
    assert version.signature == Signature.from_json(bundle.spec["signature"])


@pytest.mark.long
def test_a_second_push_is_a_second_version(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    assert 2 == yard.live({"model.pkl": iris_model(0.1)}).version
    assert 2 == yard.served()


def test_one_commit_on_two_branches_is_one_version_built_once(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    yard.repo.set_ref("refs/heads/next", yard.repo.git("rev-parse", "main"))
    done = yard.ended(yard.register(ref="next"))
    assert (1, 1) == (done.version, yard.served("next"))
    assert S.BUILDING not in [event.state for event in done.events]


def test_a_folder_a_manifest_and_a_tag(yard, deployer):
    yard.repo.force(
        {"a/model.pkl": iris_model(), "a/pushserve.toml": 'name = "flowers"\nworkers = 2'}
    )
    yard.repo.tag("v1", annotated=True)
    done = yard.ended(yard.register(ref="v1", path="a"))
    assert ("flowers", "refs/tags/v1") == (done.model, done.ref)
    version = yard.registry.find_version("flowers", number=1)
    bundle = Bundles(yard.settings.data_dir / "bundles").open(version.digest)
    assert 2 == bundle.spec["workers"]


def test_the_ref_moves_when_every_live_frontend_has_loaded_it(yard, deployer):
    registry = yard.registry
    registry.frontend_started("f1", "r")
    deployment = yard.push({"model.pkl": iris_model()})
    yard.until_state(deployment, S.LOADING)
    wanted = registry.snapshot(300).in_use
    assert 1 == len(wanted)
    assert yard.served() is None
    registry.heartbeat("f1", "r", registry.generation())
    registry.record_load("f1", next(iter(wanted)), None)
    yard.wakeups.wake()
    activating = yard.until_state(deployment, S.ACTIVATING)
    assert (S.ACTIVATING, 1) == (activating.state, yard.served())
    registry.heartbeat("f1", "r", registry.generation())
    yard.wakeups.wake()
    assert S.READY is yard.ended(deployment).state


def test_a_version_that_a_frontend_cannot_load_moves_nothing(yard, deployer):
    yard.registry.frontend_started("f1", "r")
    deployment = yard.push({"model.pkl": iris_model()})
    yard.until_state(deployment, S.LOADING)
    wanted = yard.registry.snapshot(300).in_use
    yard.registry.heartbeat("f1", "r", 0)
    yard.registry.record_load("f1", next(iter(wanted)), "no such device")
    failure = yard.ended(deployment).failure
    assert ("LOAD_FAILED", S.LOADING) == (failure.reason, failure.step)
    assert "no such device" in failure.message
    assert yard.served() is None


def loaded_by_f1(yard):
    """Push a version, and let the one frontend there is load it."""
    yard.registry.frontend_started("f1", "r")
    deployment = yard.push({"model.pkl": iris_model()})
    yard.until_state(deployment, S.LOADING)
    yard.registry.record_load("f1", *yard.registry.snapshot(300).in_use, None)
    yard.wakeups.wake()
    return deployment


class LivingFrontend:
    """A frontend that lives, and serves by the generation that it is told to serve by."""

    def __init__(self, yard):
        self._yard = yard
        self.generation = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        while not self._stopped.wait(0.1):
            self._yard.registry.heartbeat("f1", "r", self.generation)
            self._yard.wakeups.wake()


def test_a_ref_that_has_moved_is_never_said_to_have_failed(yard):
    """A frontend is slow to follow: the deployment waits for it, and does not lie meanwhile."""
    with yard.deployer(load_timeout=1), LivingFrontend(yard) as frontend:
        deployment = loaded_by_f1(yard)
        behind = yard.until(deployment, lambda d: "not all traffic" in d.message, "said so")
        assert (S.ACTIVATING, 1) == (behind.state, yard.served())
        assert "f1" in behind.message
        yard.until(deployment, lambda d: d.attempt > 2, "looked at again")
        frontend.generation = yard.registry.generation()
        done = yard.ended(deployment)
    assert (S.READY, 1) == (done.state, yard.served())


@pytest.mark.long
def test_a_push_goes_live_while_the_one_before_waits_for_a_frontend(yard):
    """The older one is then superseded, and not READY: nothing answers with it."""
    with yard.deployer(load_timeout=1), LivingFrontend(yard) as frontend:
        older = loaded_by_f1(yard)
        yard.until(older, lambda d: "not all traffic" in d.message, "said so")
        newer = yard.push({"model.pkl": iris_model(0.1)})
        yard.until_state(newer, S.LOADING)
        for version in yard.registry.snapshot(300).in_use:
            yard.registry.record_load("f1", version, None)
        yard.until_state(newer, S.ACTIVATING)
        assert (S.SUPERSEDED, newer.name) == (
            yard.ended(older).state,
            yard.ended(older).superseded_by,
        )
        frontend.generation = yard.registry.generation()
        assert S.READY is yard.ended(newer).state
    assert 2 == yard.served()


@pytest.mark.long
def test_trouble_after_the_ref_has_moved_does_not_fail_it(yard, monkeypatch):
    """A fault of the server's own: it is taken again when the lease has run out."""
    with yard.deployer(lease=1), LivingFrontend(yard) as frontend:
        with monkeypatch.context() as patched:
            patched.setattr("pushserve_server.deploy.rollout.behind", lambda *_: 1 / 0)
            deployment = loaded_by_f1(yard)
            yard.until(deployment, lambda d: d.attempt > 1, "taken again")
            assert S.ACTIVATING is yard.registry.get_deployment(deployment.name).state
        frontend.generation = yard.registry.generation()
        assert S.READY is yard.ended(deployment).state


def test_a_newer_push_stops_the_older_at_once(yard, git_host):
    yard.repo.force({"model.pkl": calling("while True: pass")})
    with yard.deployer(build_timeout=600) as _:
        older = yard.register()
        yard.until_state(older, S.BUILDING)
        newer = yard.push({"model.pkl": iris_model()})
        assert (S.SUPERSEDED, newer.name) == (
            yard.ended(older).state,
            yard.ended(older).superseded_by,
        )
        assert S.READY is yard.ended(newer).state


def test_the_remote_is_asked_again_when_the_row_is_old(yard):
    deployment = yard.push({"README": "no model yet"})
    commit = yard.repo.commit({"model.pkl": iris_model()})
    with yard.deployer():
        done = yard.ended(deployment)
    assert (S.READY, commit) == (done.state, done.commit)


def test_a_ref_that_is_gone_is_served_no_more(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    yard.live({"model.pkl": iris_model(0.1)}, branch="next")
    yard.repo.delete_ref("refs/heads/next")
    assert S.READY is yard.ended(yard.register(ref="next")).state
    assert (1, None) == (yard.served(), yard.served("next"))


def test_a_bare_commit_becomes_a_version_if_a_branch_reaches_it(yard, deployer):
    commit = yard.repo.force({"model.pkl": iris_model()})
    yard.repo.commit({"README": "later"})
    done = yard.ended(yard.register(commit=commit))
    assert (S.READY, 1, "") == (done.state, done.version, done.ref)
    lost = yard.repo.force({"model.pkl": iris_model(0.1)})
    yard.repo.force({"README": "rewritten"})
    assert "COMMIT_NOT_REACHABLE" == yard.ended(yard.register(commit=lost)).failure.reason


def test_a_remote_that_is_down_is_asked_until_it_answers(yard, deployer, git_host):
    yard.repo.force({"model.pkl": iris_model()})
    git_host.status = 503
    deployment = yard.register(ref=MAIN)
    assert "" == deployment.commit
    yard.until(deployment, lambda d: "trying again" in d.message, "tried again")
    git_host.status = 0
    assert S.READY is yard.ended(deployment).state


@pytest.mark.long
def test_a_remote_that_stays_down_ends_the_try_and_the_next_look_makes_another(yard, git_host):
    yard.repo.force({"model.pkl": iris_model()})
    deployment = yard.register()
    git_host.status = 503
    with yard.deployer(fetch_timeout=1):
        assert "REMOTE_UNREACHABLE" == yard.ended(deployment).failure.reason
        git_host.status = 0
        assert 0 == yard.reconciler().reconcile()
        forget_pauses(yard.registry)
        assert 1 == yard.reconciler().reconcile()
        assert S.READY is yard.ended(yard.register()).state


@pytest.mark.long
def test_a_look_at_a_remote_that_failed_makes_no_deployment_each_time(yard, git_host):
    """`ls-remote` is answered, and fetching is not: there was one more deployment a minute."""
    deployment = yard.push({"model.pkl": iris_model()})
    with failing_fetches(git_host), yard.deployer(fetch_timeout=1):
        assert "REMOTE_UNREACHABLE" == yard.ended(deployment).failure.reason
        assert 0 == yard.reconciler().reconcile()
        again = yard.register()
        assert again.name != deployment.name
        assert "REMOTE_UNREACHABLE" == yard.ended(again).failure.reason
    assert 2 == yard.registry.get_deployment(again.name).failures


def test_slow_repositories_do_not_make_a_push_wait(yard, git_host):
    """They hang in the middle of asking, as many as they are; the good one goes by them."""
    with serve_git(git_host.root / "slow") as slow_host:
        slow = [slow_host.create(f"slow{n}") for n in range(6)]
        for repo in slow:
            repo.force({"model.pkl": iris_model()})
        sources = (*yard.settings.sources, SourceRule(f"{slow_host.address}/*", Trust.CODE))
        yard.settings = replace(yard.settings, sources=sources)
        hanging = [yard.register(source=repo.url) for repo in slow]
        with slow_host.hold() as held, yard.deployer(fetch_timeout=50):
            for _ in hanging:
                held.arrived()
            yard.live({"model.pkl": iris_model()})
            states = {yard.registry.get_deployment(d.name).state for d in hanging}
            assert {S.FETCHING} == states
        assert 1 == yard.served()


def test_at_most_so_many_models_are_built_at_a_time(yard, git_host):
    """Those that wait for it say so; and a build that was cancelled gives its slot back."""
    endless = git_host.create("endless")
    endless.force({"model.pkl": calling("while True: pass")})
    with yard.deployer(build_timeout=600, deploy_concurrency=1):
        building = yard.register(source=endless.url)
        yard.until_state(building, S.BUILDING)
        waiting = yard.push({"model.pkl": iris_model()})
        yard.until(waiting, lambda d: "other builds" in d.message, "waits")
        assert S.CHECKING is yard.registry.get_deployment(waiting.name).state
        endless.force({"README": "no model"})
        yard.register(source=endless.url)
        assert S.READY is yard.ended(waiting).state
        assert S.SUPERSEDED is yard.ended(building).state


def test_a_source_that_is_taken_off_the_list_is_not_fetched(yard, git_host):
    deployment = yard.push({"model.pkl": iris_model()})
    with yard.deployer(sources=()):
        assert "SOURCE_NOT_ALLOWED" == yard.ended(deployment).failure.reason


def test_register_refuses_what_cannot_be(yard):
    yard.repo.force({"README": "x"}, branch="dev")
    with pytest.raises(NotFound, match="there are dev"):
        yard.register(ref="main")
    with pytest.raises(NotFound, match="no default branch"):
        yard.register(ref="")
    with pytest.raises(NotFound):
        yard.register(source=yard.repo.url.replace("iris", "other"))
    with pytest.raises(SourceRefused, match=r"\[\[sources\]\]"):
        yard.register(source="https://elsewhere.example/x")


def test_a_lost_bundle_is_built_again_from_the_same_commit(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
    before = yard.registry.find_version("iris", number=1)
    bundles = Bundles(yard.settings.data_dir / "bundles")
    shutil.rmtree(yard.settings.data_dir / "bundles")
    yard.repo.force({"README": "the branch has moved on"})
    with yard.deployer("another"):
        deadline = time.monotonic() + 60
        while not bundles.has(yard.registry.find_version("iris", number=1).digest):
            assert time.monotonic() < deadline
    after = yard.registry.find_version("iris", number=1)
    assert (before.digest, before.commit) == (after.digest, after.commit)


def built(done):
    return S.BUILDING in [event.state for event in done.events]


def digests(yard, model):
    return [version.digest for version in yard.registry.versions(model)]


def test_a_push_builds_the_folders_that_it_changed(yard, deployer):
    """A repository of many models: every push built all of them."""
    names = ["a", "b", "c"]
    files = {f"{name}/model.pkl": iris_model() for name in names}
    yard.repo.force({**files, "README": "first"})
    for name in names:
        yard.ended(yard.register(path=name))
    commit = yard.repo.commit({"b/model.pkl": iris_model(0.1), "README": "second"})
    yard.register()
    newest = yard.registry.list_deployments(limit=3)
    done = {d.model: yard.ended(d) for d in newest}
    assert [S.READY] * 3 == [d.state for d in done.values()]
    assert {"a": False, "b": True, "c": False} == {name: built(d) for name, d in done.items()}
    # A commit is a version, whether or not anything was built for it.
    for name in names:
        version = yard.registry.find_version(name, commit=commit)
        assert 2 == version.number == yard.served(model=name)
    assert {"a": 1, "b": 2, "c": 1} == {name: len({*digests(yard, name)}) for name in names}
    assert any("since version 1" in event.message for event in done["a"].events)


@pytest.mark.long
def test_a_folder_that_comes_back_to_what_it_was_is_not_built(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    yard.live({"model.pkl": iris_model(0.1)})
    back = yard.live({"model.pkl": iris_model()})
    assert (3, False) == (back.version, built(back))
    newest, middle, oldest = digests(yard, "iris")
    assert newest == oldest != middle


@pytest.mark.long
def test_what_else_a_build_depends_on_has_the_same_folder_built(yard, monkeypatch):
    with yard.deployer():
        yard.live({"model.pkl": iris_model(), "README": "1"})
        yard.live({"model.pkl": iris_model(), "README": "2"})
        monkeypatch.setattr("pushserve_server.build.build_key._environment", lambda: "upgraded")
        assert built(yard.live({"model.pkl": iris_model(), "README": "1"}, message="again"))
    with yard.deployer(build_timeout=29):
        assert built(yard.live({"model.pkl": iris_model(), "README": "2"}, message="again"))


@pytest.mark.long
def test_an_unchanged_folder_whose_bundle_was_lost_is_built(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.registry.delete("iris", "main")
        shutil.rmtree(yard.settings.data_dir / "bundles")
        assert built(yard.live({"model.pkl": iris_model()}, message="again"))


def lose_bundle(yard):
    """Have the server lose a bundle that nothing is served by, so that nobody repairs it."""
    version = yard.registry.find_version("iris", number=1)
    yard.registry.delete("iris", "main")
    shutil.rmtree(yard.settings.data_dir / "bundles" / version.digest)
    return version


def set_row(yard, version, **values):
    """Let a version be what an earlier server, or an environment that is gone, made of it."""
    with yard.registry._store.writing() as tables:
        tables.versions.update(**values).where(tables.versions.id == version.id).execute()


def test_registering_a_commit_whose_bundle_was_lost_makes_it_again(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    version = lose_bundle(yard)
    done = yard.ended(yard.register())
    assert (S.READY, 1, True) == (done.state, done.version, built(done))
    assert version.digest == yard.registry.find_version("iris", number=1).digest
    assert yard.bundles().has(version.digest)


@pytest.mark.long
def test_a_worker_s_bundle_is_not_put_under_a_version_of_a_graph(yard, deployer):
    """What the commit builds to now may be another: the version's row stays true."""
    script = "def predict(input): return {'x': 1.0}"
    yard.live({"predict.py": script})
    version = lose_bundle(yard)
    set_row(yard, version, engine=str(EngineName.ONNX))
    done = yard.ended(yard.register())
    assert (S.FAILED, "REBUILD_DIFFERS") == (done.state, done.failure.reason)
    after = yard.registry.find_version("iris", number=1)
    assert (EngineName.ONNX, version.digest) == (after.engine, after.digest)


@pytest.mark.long
def test_a_bundle_with_another_signature_is_not_put_under_a_version(yard, deployer):
    yard.live({"model.pkl": iris_model()})
    version = lose_bundle(yard)
    other = {**version.signature.to_json(), "default_outputs": ["probabilities"]}
    set_row(yard, version, signature=json.dumps(other))
    done = yard.ended(yard.register())
    assert (S.FAILED, "REBUILD_DIFFERS") == (done.state, done.failure.reason)
    assert "default_outputs" in done.failure.message
    assert version.digest == yard.registry.find_version("iris", number=1).digest


def test_the_repair_of_a_bundle_puts_no_other_signature_under_a_version(yard):
    """The other of the two ways: nobody registers, the server looks for itself."""
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
    version = yard.registry.find_version("iris", number=1)
    other = {**version.signature.to_json(), "default_outputs": ["probabilities"]}
    set_row(yard, version, signature=json.dumps(other))
    shutil.rmtree(yard.settings.data_dir / "bundles")
    with yard.deployer("another") as deployer:
        restorer = Restorer(deployer._context)
        assert 0 == restorer.restore(threading.Event())
    assert version.digest == yard.registry.find_version("iris", number=1).digest


@pytest.mark.long
def test_an_event_for_the_repository_is_for_every_folder_that_is_served(yard, deployer):
    """A push event names no folder."""
    yard.live({"a/model.pkl": iris_model(), "b/model.pkl": iris_model()}, path="a")
    yard.ended(yard.register(path="b"))
    yard.repo.force({"a/model.pkl": iris_model(0.1), "b/model.pkl": iris_model(0.1)})
    yard.register()
    for deployment in yard.registry.list_deployments(limit=2):
        yard.ended(deployment)
    assert (2, 2) == (yard.served(model="a"), yard.served(model="b"))
    assert ["a", "b"] == sorted({d.path for d in yard.registry.list_deployments(limit=9)})


@pytest.mark.long
def test_without_a_zygote_a_deployment_waits(yard, run_dir):
    """Nothing that its author could change is wrong."""
    deployment = yard.push({"model.pkl": iris_model()})
    zygote, yard.zygote = yard.zygote, SandboxClient(run_dir / "zygote.sock")
    with yard.deployer():
        yard.until(deployment, lambda d: d.attempt > 1, "taken again")
        (run_dir / "zygote.sock").symlink_to(zygote._path)
        assert S.READY is yard.ended(deployment).state


def test_a_deployer_that_stops_gives_its_lease_back(yard, git_host):
    deployment = yard.push({"model.pkl": iris_model()})
    with git_host.hold() as held, yard.deployer(lease=600):
        held.arrived()
    with yard.deployer("another", lease=600):
        assert (S.READY, 2) == (
            yard.ended(deployment).state,
            yard.registry.get_deployment(deployment.name).attempt,
        )


@pytest.mark.slow
def test_a_deployer_killed_while_it_builds_is_replaced(yard, run_dir):
    """SIGKILL in BUILDING; the row is taken again when the lease has run out."""
    slow = calling("import time; time.sleep(1)")
    yard.repo.force({"model.pkl": slow, "predict.py": SLOW})
    deployment = yard.register()
    (run_dir / "zygote.sock").symlink_to(yard.zygote._path)
    boot = Boot("deployer", "r", run_dir, 0, replace(yard.settings, lease=2.0))
    with forking() as fork_server:
        heartbeats = Heartbeats.create()
        process = fork_server.fork(
            "pushserve_server.processes.deployer_process", boot.to_json(), heartbeats
        )
        try:
            yard.until_state(deployment, S.BUILDING)
        finally:
            process.kill()
            process.wait(20)
    assert not yard.registry.get_deployment(deployment.name).state.is_final
    with yard.deployer("another"):
        done = yard.ended(deployment)
    assert (S.READY, 2, 1) == (done.state, done.attempt, done.version)
    assert any("started again" in event.message for event in done.events)


SLOW = """
import time
time.sleep(1)

def predict(row):
    return {"sum": sum(row.values())}
"""
