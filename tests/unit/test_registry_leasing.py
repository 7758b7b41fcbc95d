"""Leases: one owner at a time, taken again from silent ones; and the table of transitions."""

import itertools

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import TRANSITIONS, DeploymentState
from pushserve_server.registry import LeaseLost, Superseded
from tests.fixtures.registry import MAIN, SOURCE, at, in_processes, lease_all, sha, token

A, B = sha("a"), sha("b")
S = DeploymentState


def test_the_oldest_is_taken_first_and_once(steps):
    made = [steps.register(A, source=f"{SOURCE}{n}").name for n in range(2)]
    taken = [steps.lease(f"owner {n}") for n in range(3)]
    assert [*made, None] == [one and one.name for one in taken]
    assert 1 == taken[0].attempt


def test_each_of_many_is_taken_once_by_many_processes(steps, registry_url):
    made = {steps.register(A, source=f"{SOURCE}{n}").id for n in range(60)}
    taken = list(itertools.chain(*in_processes(8, lease_all, registry_url)))
    assert 60 == len(taken)
    assert made == set(taken)


def test_of_one_source_one_is_at_work_until_its_version_is_on_disk(steps):
    """Else one repository with many folders, or one that hangs, takes every slot."""
    first, second = (steps.register(A, f"refs/heads/b{n}") for n in range(2))
    other = steps.register(A, source=f"{SOURCE}/other")
    taken = steps.take()
    assert (first.id, other.id, None) == (taken.id, steps.lease().id, steps.lease())
    steps.build(taken)
    assert second.id == steps.lease().id


def test_one_of_a_source_whose_deployer_is_gone_holds_up_no_other(steps):
    dead, alive = (steps.register(A, f"refs/heads/b{n}") for n in range(2))
    steps.take("dead")
    steps.at(14)
    assert None is steps.lease("me")
    steps.at(15)
    assert dead.id == steps.lease("me").id
    assert None is steps.lease("me")
    steps.at(30)
    assert {dead.id, alive.id} >= {steps.lease("me").id}


def test_a_ref_that_has_moved_is_taken_whatever_its_source_does(steps):
    moved = steps.loading(A)
    steps.registry.activate(token(moved))
    steps.register(B, "refs/heads/next")
    assert steps.at(5).renew(token(moved), 0)
    assert moved.id == steps.lease().id


def fail_for_the_remote(steps, taken, pause=60):
    failure = Failure("REMOTE_UNREACHABLE", S.FETCHING, "silent", "wait")
    return steps.registry.fail(token(taken), failure, retry_pause=pause)


def test_a_ref_whose_remote_fails_is_left_alone_for_longer_and_longer(steps):
    """Each look of the reconciler's made another deployment, which held a slot for minutes."""
    made, last = [], -60
    for second in range(0, 7200, 60):
        registry = steps.at(second)
        _, new = registry.register(
            source=SOURCE, path="", ref=MAIN, commit=A, model="", retry=False,
            default_branch="main", automatic=True,
        )  # fmt: skip
        if new:
            made.append(second - last)
            last = second
            fail_for_the_remote(steps, steps.take())
    assert [60, 60, 120, 240, 480] == made[:5]
    assert {900} == set(made[5:])
    assert 6 < len(made)


def left_alone(steps, **changes):
    fields = {"source": SOURCE, "path": "", "ref": MAIN, "commit": A, "model": "", "retry": False,
              "default_branch": "main", "automatic": True}  # fmt: skip
    return not steps.registry.register(**(fields | changes))[1]


def test_a_person_a_push_and_other_refs_are_not_kept_waiting(steps):
    steps.register(A)
    failed = fail_for_the_remote(steps, steps.take())
    assert ("", 1) == (failed.commit, failed.failures)
    assert left_alone(steps)
    assert left_alone(steps, commit=B)
    assert not left_alone(steps, ref="refs/heads/next")
    assert not left_alone(steps, path="folder")
    assert not left_alone(steps, source=f"{SOURCE}/other")
    assert steps.register_told(A)[1]


def test_what_went_live_or_failed_by_itself_begins_again(steps):
    steps.register(A)
    fail_for_the_remote(steps, steps.take())
    steps.live(A)
    steps.register(B)
    assert 1 == fail_for_the_remote(steps, steps.take()).failures
    steps.register(B)
    own = Failure("ARTIFACT_MISSING", S.FETCHING, "none", "add one")
    failed = steps.registry.fail(token(steps.take()), own)
    assert (B, 0) == (failed.commit, failed.failures)
    assert left_alone(steps, commit=B)  # it has failed; what its remote has now is another
    assert not left_alone(steps, commit=A)


def test_a_clock_that_was_put_back_leaves_nothing_alone_for_days(steps):
    steps.register(A)
    fail_for_the_remote(steps, steps.take())
    steps.at(-86_400)
    assert not left_alone(steps)


def test_those_whose_remote_has_failed_come_after_the_others(steps):
    steps.register(A)
    fail_for_the_remote(steps, steps.take())
    again = steps.register(A)
    fresh = steps.register(A, source=f"{SOURCE}/other")
    assert fresh.id == steps.lease().id
    assert None is steps.registry.lease("me", 15, failed_before=False)
    assert (again.id, 1) == ((taken := steps.lease()).id, taken.failures)


def test_a_held_lease_is_not_taken_and_a_silent_one_is(steps):
    steps.register(A)
    first = steps.take("first")
    assert steps.at(10).renew(token(first, "first"), 15)
    steps.at(24.9)
    assert None is steps.lease("second")
    steps.at(25)
    second = steps.lease("second")
    assert (first.id, 2, S.QUEUED) == (second.id, second.attempt, second.state)
    assert "started again" in steps.registry.get_deployment(first.name).events[-1].message


def test_whoever_lost_the_lease_can_do_nothing(steps):
    steps.register(A)
    taken = steps.take("first")
    registry, lost = steps.at(15), token(taken, "first")
    assert steps.lease("second")
    failure = Failure("X", S.FETCHING, "x", "y")
    assert not registry.renew(lost, 15)
    for attempt in (
        lambda: registry.advance(lost, S.CHECKING, ""),
        lambda: registry.note(lost, ""),
        lambda: registry.fail(lost, failure),
        lambda: registry.activate(lost),
        lambda: registry.finish(lost),
        lambda: registry.retire(lost),
        lambda: steps.build(taken, owner="first"),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    assert S.QUEUED is registry.get_deployment(taken.name).state


def test_an_earlier_attempt_of_the_same_owner_can_do_nothing(steps):
    """A deployer that hung for longer than its lease, and took the row again: two threads."""
    steps.register(A)
    first = steps.take()
    steps.at(15)
    second = steps.take()
    assert (first.id, 2) == (second.id, second.attempt)
    registry, lost = steps.registry, token(first)
    failure = Failure("X", S.FETCHING, "x", "y")
    assert not registry.renew(lost, 15)
    for attempt in (
        lambda: registry.advance(lost, S.CHECKING, ""),
        lambda: registry.note(lost, ""),
        lambda: registry.fail(lost, failure),
        lambda: registry.activate(lost),
        lambda: registry.finish(lost),
        lambda: registry.retire(lost),
        lambda: steps.build(first),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    assert S.FETCHING is registry.get_deployment(first.name).state
    assert registry.renew(token(second), 15)


def test_a_lease_given_back_by_an_earlier_attempt_stays_with_the_later_one(steps):
    steps.register(A)
    first = steps.take()
    steps.at(15)
    second = steps.take()
    assert not steps.registry.renew(token(first), 0)
    assert None is steps.lease("other")
    assert S.CHECKING is steps.advance(second, S.CHECKING).state


def test_a_clock_that_is_put_back_holds_no_lease_for_longer(steps):
    """By an hour: the silent one's row is free after the lease, not after the hour."""
    steps.register(A)
    steps.at(3600)
    first = steps.take("first")
    steps.at(0)
    assert None is steps.lease("second")
    steps.at(14.9)
    assert None is steps.lease("second")
    steps.at(15)
    assert first.id == steps.lease("second").id


def test_a_clock_that_is_put_back_takes_no_lease_from_whoever_renews_it(steps):
    steps.register(A)
    steps.at(3600)
    first = steps.take("first")
    for seconds in (0, 10, 20):
        steps.at(seconds)
        assert None is steps.lease("second")
        assert steps.registry.renew(token(first, "first"), 15)
    assert S.CHECKING is steps.advance(first, S.CHECKING, "first").state


def test_what_was_seen_before_the_clock_was_put_back_was_seen_now(steps):
    """Frontends that are gone do not live, and keep-alive requests not last, for an hour more."""
    steps.live(A)
    version = steps.registry.find_built("iris", A).id
    registry = steps.at(3600)
    registry.frontend_started("gone", "r1")
    registry.keep_alive([version])
    steps.at(0)
    assert None is steps.lease()
    steps.at(4)
    assert ["gone"] == [name for name, _ in registry.live_frontends(5)]
    steps.at(6)
    assert [] == registry.live_frontends(5)
    assert {version} == registry.snapshot(60).kept_alive
    steps.at(60)
    assert set() == registry.snapshot(60).kept_alive


def test_an_owner_that_is_late_but_alone_goes_on(steps):
    steps.register(A)
    taken = steps.take()
    assert steps.at(100).renew(token(taken), 15)
    assert S.CHECKING is steps.advance(taken, S.CHECKING).state


def test_one_that_was_taken_again_while_loading_stays_loaded(steps):
    taken = steps.loading(A)
    version = steps.registry.find_built("iris", A)
    steps.at(60)
    again = steps.take("second")
    assert (taken.id, 1) == (again.id, again.version)
    assert {version.id} == steps.registry.snapshot(60).in_use


def test_one_that_was_taken_again_while_activating_goes_on_from_there(steps):
    moving = steps.loading(A)
    generation = steps.registry.activate(token(moving)).moved_generation
    steps.at(60)
    again = steps.lease("second")
    assert (moving.id, S.ACTIVATING) == (again.id, again.state)
    activated = steps.registry.activate(token(again, "second"))
    assert (S.ACTIVATING, generation) == (activated.state, activated.moved_generation)


def test_a_superseded_one_stops_its_owner(steps):
    steps.register(A)
    taken = steps.take()
    newer = steps.register(B)
    assert not steps.registry.renew(token(taken), 15)
    with pytest.raises(Superseded, match=newer.name):
        steps.advance(taken, S.CHECKING)
    assert newer.id == steps.lease().id


def test_ended_ones_are_never_taken(steps):
    steps.live(A)
    steps.register(B)
    failed = steps.take()
    steps.registry.fail(token(failed), Failure("X", S.FETCHING, "x", "y"))
    steps.at(1e6)
    assert None is steps.lease("other")


def test_a_failure_is_kept_with_its_step_and_its_cure(steps):
    steps.register(A)
    taken = steps.take()
    failure = Failure("REMOTE_UNREACHABLE", S.FETCHING, "no answer", "try again")
    ended = steps.at(1).fail(token(taken), failure)
    assert (S.FAILED, failure, at(1)) == (ended.state, ended.failure, ended.updated_at)
    assert failure == steps.registry.get_deployment(taken.name).failure


def test_progress_and_notes_are_events(steps):
    steps.register(A)
    taken = steps.take()
    steps.at(1).advance(token(taken), S.FETCHING, "half of it is here")
    steps.at(2).note(token(taken), "all of it is here")
    read = steps.registry.get_deployment(taken.name)
    assert ["half of it is here", "all of it is here"] == [e.message for e in read.events[-2:]]
    assert (S.FETCHING, "all of it is here", at(2)) == (read.state, read.message, read.updated_at)


def test_what_is_found_out_on_the_way_is_kept(steps):
    steps.register("")
    taken = steps.take()
    known = steps.advance(taken, S.CHECKING, commit=B, model="iris")
    assert (B, "iris", MAIN) == (known.commit, known.model, known.ref)


def test_another_commit_lets_go_of_the_version(steps):
    """The ref moved while the deployment was being taken again."""
    steps.loading(A)
    steps.at(60)
    again = steps.take("second")
    moved = steps.advance(again, S.FETCHING, "second", commit=B)
    assert (B, None) == (moved.commit, moved.version)
    assert set() == steps.registry.snapshot(60).in_use


@pytest.mark.parametrize("before", S)
def test_states_follow_one_another_as_the_table_says(steps, before):
    """Every pair; a state may be said again, and nothing follows a final one."""
    taken = steps.loading(A)
    deployments = steps.registry._store.tables.deployments
    for after in S:
        with steps.registry._store.writing():
            deployments.update(state=before.value).execute()
        if before.is_final:
            with pytest.raises(Superseded):
                steps.advance(taken, after)
        elif after is before or after in TRANSITIONS[before]:
            assert after is steps.advance(taken, after).state
        else:
            with pytest.raises(ValueError, match=f"{after} does not follow {before}"):
                steps.advance(taken, after)


def test_loading_needs_a_version(steps):
    steps.register(A)
    taken = steps.take()
    with pytest.raises(ValueError, match="not built"):
        steps.advance(taken, S.LOADING, model="iris")
