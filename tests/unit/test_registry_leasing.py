"""Leases: one owner at a time, taken again from silent ones; and the table of transitions."""

import itertools

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import TRANSITIONS, DeploymentState
from pushserve_server.registry import LeaseLost, Superseded
from tests.fixtures.registry import MAIN, at, in_processes, lease_all, sha, token

A, B = sha("a"), sha("b")
S = DeploymentState


def test_the_oldest_is_taken_first_and_once(steps):
    made = [steps.register(A, f"refs/heads/b{n}").name for n in range(2)]
    taken = [steps.lease(f"owner {n}") for n in range(3)]
    assert [*made, None] == [one and one.name for one in taken]
    assert 1 == taken[0].attempt


def test_each_of_many_is_taken_once_by_many_processes(steps, registry_url):
    made = {steps.register(A, f"refs/heads/b{n}").id for n in range(60)}
    taken = list(itertools.chain(*in_processes(8, lease_all, registry_url)))
    assert 60 == len(taken)
    assert made == set(taken)


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
