"""What is served, which frontends serve it, and what the reconciler compares."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pushserve_server.domain.records import EngineName, Failure, Tracked
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import NotFound
from tests.fixtures.registry import MAIN, SOURCE, at, sha, token

A, B = sha("a"), sha("b")
DEV = "refs/heads/dev"


def test_a_snapshot_says_where_refs_lead(steps):
    steps.live(A)
    steps.live(B, DEV)
    snapshot = steps.registry.snapshot(60)
    first, second = (steps.registry.find_built("iris", commit).id for commit in (A, B))
    (model,) = snapshot.models
    assert ("iris", MAIN) == (model.name, model.default_ref)
    assert [(MAIN, first), (DEV, second)] == [(r.ref, r.version_id) for r in model.routes]
    assert {first, second} == snapshot.in_use
    assert steps.registry.generation() == snapshot.generation


def test_a_version_is_wanted_from_loading_on(steps):
    """Before its ref moves, and beside the old one."""
    steps.live(A)
    old = steps.registry.find_built("iris", A).id
    before = steps.registry.generation()
    taken = steps.loading(B)
    new = steps.registry.find_built("iris", B).id
    assert before < steps.registry.generation()
    assert {old, new} == steps.registry.snapshot(60).in_use
    steps.registry.activate(token(taken))
    steps.registry.finish(token(taken))
    assert {new} == steps.registry.snapshot(60).in_use


def test_a_failed_load_is_wanted_no_more(steps):
    taken = steps.loading(A)
    before = steps.registry.generation()
    failure = Failure("LOAD_FAILED", DeploymentState.LOADING, "x", "y")
    steps.registry.fail(token(taken), failure)
    assert before < steps.registry.generation()
    assert set() == steps.registry.snapshot(60).in_use


def test_steps_that_matter_to_nobody_who_serves_do_not_count(steps):
    before = steps.registry.generation()
    steps.register(A)
    taken = steps.take()
    steps.registry.note(token(taken), "half")
    steps.registry.renew(token(taken), 15)
    steps.registry.frontend_started("f1", "r1")
    steps.registry.heartbeat("f1", "r1", 0)
    steps.registry.record_load("f1", 1, None)
    assert before == steps.registry.generation()


def test_others_are_told_of_each_change_once_it_can_be_read(steps):
    """Not of heartbeats without news, of renewed leases, nor of what was rolled back."""
    registry, told = steps.registry, []

    def told_by(change: Callable[[], object]) -> bool:
        told.clear()
        change()
        return bool(told)

    registry.when_changed(lambda: told.append(registry.generation()))
    assert told_by(lambda: steps.register(A))
    taken = steps.take()
    assert told_by(lambda: registry.advance(token(taken), DeploymentState.CHECKING, "reading"))
    assert not told_by(lambda: registry.renew(token(taken), 15))
    assert told_by(lambda: registry.heartbeat("f1", "r1", 3))
    assert not told_by(lambda: registry.heartbeat("f1", "r1", 3))
    assert told_by(lambda: registry.heartbeat("f1", "r1", 4))
    assert told_by(lambda: registry.record_load("f1", 1, None))
    failure = Failure("LOAD_FAILED", DeploymentState.LOADING, "x", "y")
    assert told_by(lambda: registry.fail(token(taken), failure))
    assert told_by(lambda: steps.live(B, DEV))
    assert registry.generation() == told[-1]
    with pytest.raises(NotFound):
        told_by(lambda: registry.replace_bundle(10**6, "digest", {}))
    assert [] == told


def test_a_call_by_number_keeps_its_version(steps):
    steps.live(A)
    old = steps.registry.find_built("iris", A).id
    steps.live(B)
    before = steps.registry.generation()
    steps.registry.keep_alive([old])
    after = steps.registry.generation()
    assert before < after
    assert old in steps.at(59).snapshot(60).in_use
    steps.at(30).keep_alive([old])
    assert after == steps.registry.generation()
    assert old in steps.at(89).snapshot(60).in_use
    assert old not in steps.at(90).snapshot(60).in_use
    assert after < steps.registry.generation()


def test_a_keep_alive_by_a_ref_counts_while_the_ref_leads_there(steps):
    steps.live(A)
    version = steps.registry.find_built("iris", A).id
    steps.registry.keep_alive([version], by_ref=True)
    assert 0 == steps.at(600).expire_keep_alives(60)
    assert {version} == steps.at(600).snapshot(60).kept_alive
    steps.live(B)
    assert version not in steps.registry.snapshot(60).in_use
    steps.registry.keep_alive([version])
    assert {version} == steps.registry.snapshot(60).kept_alive & {version}


def test_a_replica_that_starts_forgets_old_keep_alives_of_refs(steps):
    steps.live(A)
    steps.registry.keep_alive([steps.registry.find_built("iris", A).id], by_ref=True)
    assert 0 == steps.at(59).expire_keep_alives(60, all_refs=True)
    assert 1 == steps.at(60).expire_keep_alives(60, all_refs=True)


def test_a_keep_alive_that_is_withdrawn_is_made_anew_by_the_next_call(steps):
    steps.live(A)
    version = steps.registry.find_built("iris", A).id
    seen = []
    for _ in range(2):
        steps.at(3).keep_alive([version], by_ref=True)
        assert {version: at(3)} == steps.registry.keep_alives()
        seen.append(steps.registry.generation())
        steps.registry.withdraw_keep_alives([version])
        assert set() == steps.registry.snapshot(60).kept_alive
        seen.append(steps.registry.generation())
    assert sorted(set(seen)) == seen


def test_a_worker_version_that_goes_live_is_kept_alive_and_a_graph_is_not(steps):
    """Frontends decide by themselves which graphs to keep."""
    steps.live(A, engine=EngineName.WORKER)
    worker = steps.registry.find_built("iris", A).id
    assert {worker} == steps.registry.snapshot(60).kept_alive
    steps.live(B, engine=EngineName.ONNX)
    assert set() == steps.registry.snapshot(60).kept_alive


def test_a_keep_alive_for_what_is_gone_is_passed_over(registry):
    registry.keep_alive([7])
    assert set() == registry.snapshot(60).in_use


def test_old_keep_alives_are_counted_when_they_go(steps):
    steps.live(A, "")
    assert 0 == steps.at(59).expire_keep_alives(60)
    assert 1 == steps.at(60).expire_keep_alives(60)
    assert 0 == steps.at(60).expire_keep_alives(60)


def test_many_versions_are_read_by_their_ids(steps):
    steps.live(A)
    version = steps.registry.find_built("iris", A)
    assert {version.id: version} == steps.registry.versions_by_id(range(2000))
    assert {} == steps.registry.versions_by_id([])
    assert {version.id: version.digest} == steps.registry.digests(range(2000))


def test_only_frontends_that_were_heard_of_live(registry, clock):
    registry.frontend_started("f1", "r1")
    registry.frontend_started("f2", "r1")
    clock.set(8)
    assert registry.heartbeat("f2", "r1", 7)
    clock.set(9)
    assert [("f1", -1), ("f2", 7)] == registry.live_frontends(10)
    clock.set(10)
    assert [("f2", 7)] == registry.live_frontends(10)


def test_a_heartbeat_of_a_frontend_that_is_not_known_announces_it_anew(registry):
    """Its row went while it was silent: a heartbeat that changes no row must not get lost."""
    registry.frontend_started("f1", "r1")
    registry.record_load("f1", 4, None)
    registry.frontend_stopped("f1")
    assert not registry.heartbeat("f1", "r1", 7)
    assert [("f1", 7)] == registry.live_frontends(10)
    assert registry.heartbeat("f1", "r1", 7)
    registry.record_load("f1", 4, None)
    assert {4} == registry.loaded_by("r1")


def test_loads_are_those_of_live_frontends(registry, clock):
    for name in ("f1", "f2", "f3"):
        registry.frontend_started(name, "r1")
    clock.set(5)
    registry.heartbeat("f1", "r1", 1)
    registry.heartbeat("f2", "r1", 1)
    registry.record_load("f1", 4, "broken")
    registry.record_load("f1", 4, None)
    registry.record_load("f2", 4, "no memory")
    registry.record_load("f3", 4, None)
    registry.record_load("f1", 5, None)
    clock.set(10)
    assert {"f1": None, "f2": "no memory"} == registry.loads(4, 10)
    registry.forget_load("f1", [4])
    assert {"f2": "no memory"} == registry.loads(4, 10)
    assert {"f1": None} == registry.loads(5, 10)


def test_a_frontend_that_starts_anew_has_loaded_nothing(registry):
    registry.frontend_started("f1", "r1")
    registry.record_load("f1", 4, None)
    registry.frontend_started("f1", "r1")
    assert {} == registry.loads(4, 10)


def test_frontends_go_one_by_one_with_their_replica_or_long_after_death(registry, clock):
    for name, replica in (("f1", "r1"), ("f2", "r1"), ("f3", "r2"), ("f4", "r2")):
        registry.frontend_started(name, replica)
    registry.frontend_stopped("f4")
    registry.stop_replica("r1")
    assert ["f3"] == [name for name, _ in registry.live_frontends(10)]
    clock.set(3601)
    registry.frontend_started("f5", "r3")
    assert ["f5"] == [name for name, _ in registry.live_frontends(1e6)]


def test_tracked_is_where_refs_were_last_seen(steps):
    steps.live(A)
    steps.register(B)
    steps.live(A, DEV)
    steps.live(A, "")
    steps.register(A, path="two")
    assert [
        Tracked(SOURCE, "", "iris", {MAIN: B, DEV: A}, MAIN),
        Tracked(SOURCE, "two", "", {MAIN: A}),
    ] == steps.registry.tracked()


def test_refs_that_are_gone_are_tracked_so_that_they_can_come_back(steps):
    steps.live(A)
    steps.register("")
    steps.registry.retire(token(steps.take()))
    assert [Tracked(SOURCE, "", "iris", {MAIN: ""})] == steps.registry.tracked()


def test_a_gone_ref_that_is_unpinned_is_tracked_where_it_is(steps):
    steps.live(A)
    steps.registry.pin("iris", "main", number=None, commit=None)
    steps.register("")
    steps.registry.retire(token(steps.take()))
    assert {MAIN: ""} == steps.registry.tracked()[0].refs
    steps.registry.unpin("iris", "main")
    assert {MAIN: A} == steps.registry.tracked()[0].refs


def test_what_never_was_or_was_deleted_is_not_tracked(steps):
    steps.register("", DEV)
    steps.registry.retire(token(steps.take()))
    steps.live(A)
    steps.registry.delete("iris", "")
    assert [] == steps.registry.tracked()


def test_a_read_never_waits_for_a_writer(steps):
    """One thread holds the write lock; another reads the state before it."""
    steps.live(A)
    registry = steps.registry
    before = registry.generation()
    with ThreadPoolExecutor(1) as pool, registry._store.writing():
        registry._store.bump()
        assert before == pool.submit(registry.generation).result(30)
        assert 1 == len(pool.submit(registry.snapshot, 60).result(30).models)
        assert None is pool.submit(registry.lease, "me", 15).result(30)


def test_threads_share_a_registry(steps):
    """More of them than there are connections; each write is done once."""
    steps.live(A)
    with ThreadPoolExecutor(40) as pool:
        made = list(pool.map(lambda n: steps.register(A, f"refs/heads/b{n}"), range(80)))
        snapshots = list(pool.map(lambda _: steps.registry.snapshot(60), range(80)))
    assert 80 == len({deployment.name for deployment in made})
    assert 1 == len(set(snapshots))
