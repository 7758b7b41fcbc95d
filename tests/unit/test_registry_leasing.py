"""Leases: one owner at a time, taken again from silent ones; and the table of transitions."""

import itertools

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import TRANSITIONS, DeploymentState
from pushserve_server.registry import LeaseLost, Superseded
from tests.fixtures.registry import MAIN, NOON, at, in_processes, lease_all, sha

A, B = sha("a"), sha("b")
S = DeploymentState


def test_the_oldest_is_taken_first_and_once(steps):
    made = [steps.register(A, f"refs/heads/b{n}").name for n in range(2)]
    taken = [steps.registry.lease(f"owner {n}", NOON, 15) for n in range(3)]
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
    assert steps.registry.renew(first.id, "first", at(10), 15)
    assert None is steps.registry.lease("second", at(24.9), 15)
    second = steps.registry.lease("second", at(25), 15)
    assert (first.id, 2, S.QUEUED) == (second.id, second.attempt, second.state)
    assert "started again" in steps.registry.get_deployment(first.name).events[-1].message


def test_whoever_lost_the_lease_can_do_nothing(steps):
    steps.register(A)
    taken = steps.take("first")
    steps.registry.lease("second", at(15), 15)
    registry = steps.registry
    failure = Failure("X", S.FETCHING, "x", "y")
    assert not registry.renew(taken.id, "first", at(16), 15)
    for attempt in (
        lambda: registry.advance(taken.id, "first", S.CHECKING, "", NOON),
        lambda: registry.note(taken.id, "first", "", NOON),
        lambda: registry.fail(taken.id, "first", failure, NOON),
        lambda: registry.activate(taken.id, "first", NOON),
        lambda: registry.finish(taken.id, "first", "", NOON),
        lambda: registry.retire(taken.id, "first", NOON),
        lambda: steps.build(taken, owner="first"),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    assert S.QUEUED is registry.get_deployment(taken.name).state


def test_an_owner_that_is_late_but_alone_goes_on(steps):
    steps.register(A)
    taken = steps.take()
    assert steps.registry.renew(taken.id, "me", at(100), 15)
    assert S.CHECKING is steps.advance(taken, S.CHECKING).state


def test_one_that_was_taken_again_while_loading_stays_loaded(steps):
    taken = steps.loading(A)
    version = steps.registry.find_built("iris", A)
    again = steps.take("second", at(60))
    assert (taken.id, 1) == (again.id, again.version)
    assert {version.id} == steps.registry.snapshot(NOON, 60).in_use


def test_one_that_was_taken_again_while_activating_goes_on_from_there(steps):
    moving = steps.loading(A)
    _, generation = steps.registry.activate(moving.id, "me", NOON)
    again = steps.registry.lease("second", at(60), 15)
    assert (moving.id, S.ACTIVATING) == (again.id, again.state)
    activated, known = steps.registry.activate(again.id, "second", at(60))
    assert (S.ACTIVATING, generation) == (activated.state, known)


def test_a_superseded_one_stops_its_owner(steps):
    steps.register(A)
    taken = steps.take()
    newer = steps.register(B)
    assert not steps.registry.renew(taken.id, "me", NOON, 15)
    with pytest.raises(Superseded, match=newer.name):
        steps.advance(taken, S.CHECKING)
    assert newer.id == steps.registry.lease("me", NOON, 15).id


def test_ended_ones_are_never_taken(steps):
    steps.live(A)
    steps.register(B)
    failed = steps.take()
    steps.registry.fail(failed.id, "me", Failure("X", S.FETCHING, "x", "y"), NOON)
    assert None is steps.registry.lease("other", at(1e6), 15)


def test_a_failure_is_kept_with_its_step_and_its_cure(steps):
    steps.register(A)
    taken = steps.take()
    failure = Failure("REMOTE_UNREACHABLE", S.FETCHING, "no answer", "try again")
    ended = steps.registry.fail(taken.id, "me", failure, at(1))
    assert (S.FAILED, failure, at(1)) == (ended.state, ended.failure, ended.updated_at)
    assert failure == steps.registry.get_deployment(taken.name).failure


def test_progress_and_notes_are_events(steps):
    steps.register(A)
    taken = steps.take()
    steps.registry.advance(taken.id, "me", S.FETCHING, "half of it is here", at(1))
    steps.registry.note(taken.id, "me", "all of it is here", at(2))
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
    again = steps.take("second", at(60))
    moved = steps.advance(again, S.FETCHING, "second", commit=B)
    assert (B, None) == (moved.commit, moved.version)
    assert set() == steps.registry.snapshot(NOON, 60).in_use


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
