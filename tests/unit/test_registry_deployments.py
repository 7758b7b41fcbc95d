"""Register: what is new, what is the same, what takes the place of what; and reading back."""

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import AlreadyExists, NotFound, NotPossibleNow
from tests.fixtures.registry import MAIN, NOON, SOURCE, at, in_processes, register_same, sha, token

A, B = sha("a"), sha("b")
BROKEN = Failure("ARTIFACT_MISSING", DeploymentState.CHECKING, "no model", "add model.skops")


def test_a_deployment_is_queued_with_all_that_was_asked(steps):
    made, created = steps.register_told(A, path="models/iris", model="flowers")
    read = steps.registry.get_deployment(made.name)
    assert created
    assert (SOURCE, "models/iris", MAIN, A, "flowers") == (
        read.source,
        read.path,
        read.ref,
        read.commit,
        read.model,
    )
    assert (DeploymentState.QUEUED, NOON, 0) == (read.state, read.created_at, read.attempt)
    assert [DeploymentState.QUEUED] == [event.state for event in read.events]


def test_the_same_commit_again_is_the_same_deployment(steps):
    first = steps.register(A)
    assert (first.name, False) == (steps.register(A).name, steps.register_told(A)[1])
    assert first.name == steps.register(A, retry=True).name


def test_a_live_commit_registered_again_is_its_deployment(steps):
    live = steps.live(A)
    again, created = steps.register_told(A, retry=True)
    assert (live.name, False, DeploymentState.READY) == (again.name, created, again.state)


def test_a_ref_that_comes_back_to_a_commit_is_deployed_again(steps):
    """Only the newest deployment of the ref counts: A, B, A are three."""
    first = steps.live(A)
    steps.live(B)
    third, created = steps.register_told(A)
    assert created
    assert first.name != third.name


def test_a_failed_commit_is_tried_again_only_when_asked(steps):
    steps.register(A)
    failed = steps.take()
    steps.registry.fail(token(failed), BROKEN)
    assert (failed.name, False) == (steps.register(A).name, steps.register_told(A)[1])
    assert steps.register(A, retry=True).name != failed.name


def test_a_failure_with_no_commit_known_is_no_reason_to_do_nothing(steps):
    failed = steps.register("")
    assert failed.name == steps.register("").name
    steps.registry.fail(token(steps.take()), BROKEN)
    assert steps.register("").name != failed.name


def test_a_name_that_was_not_asked_for_before_is_a_new_deployment(steps):
    unnamed = steps.register(A)
    named = steps.register(A, model="flowers")
    assert unnamed.name != named.name
    assert named.name == steps.register(A, model="flowers").name == steps.register(A).name


def test_a_newer_one_supersedes_those_that_are_not_live(steps):
    older = steps.register(A)
    other_ref = steps.register(A, "refs/heads/dev")
    other_folder = steps.register(A, path="two")
    newer = steps.register(B)
    ended = steps.registry.get_deployment(older.name)
    assert (DeploymentState.SUPERSEDED, newer.name) == (ended.state, ended.superseded_by)
    assert newer.name in ended.events[-1].message
    for name in (other_ref.name, other_folder.name, newer.name):
        assert DeploymentState.QUEUED is steps.registry.get_deployment(name).state


def test_one_that_is_activating_is_left_alone(steps):
    """Its ref has moved already."""
    moving = steps.loading(A)
    steps.registry.activate(token(moving))
    steps.register(B)
    assert DeploymentState.ACTIVATING is steps.registry.get_deployment(moving.name).state


def test_a_superseded_one_is_loaded_no_more(steps):
    loading = steps.loading(A)
    version = steps.registry.find_built("iris", A)
    before = steps.registry.snapshot(60)
    steps.register(B)
    after = steps.registry.snapshot(60)
    assert ({version.id}, set()) == (before.in_use, after.in_use)
    assert before.generation < after.generation
    assert loading.commit == A


def test_bare_commits_stand_beside_one_another(steps):
    first, second = steps.register(A, ""), steps.register(B, "")
    assert first.name == steps.register(A, "").name
    assert DeploymentState.QUEUED is steps.registry.get_deployment(first.name).state
    assert first.name != second.name


def test_a_folder_keeps_its_name(steps):
    steps.live(A)
    assert "iris" == steps.register(B).model
    with pytest.raises(NotPossibleNow, match="'iris'"):
        steps.register(B, model="flowers")


def test_a_name_belongs_to_one_folder(steps):
    steps.live(A)
    with pytest.raises(AlreadyExists, match="'iris'"):
        steps.register(A, path="elsewhere", model="iris")
    with pytest.raises(AlreadyExists):
        steps.register(A, source="https://git.example/other.git", model="iris")


def test_registering_from_many_processes_makes_each_once(registry, registry_url):
    """Eight webhooks tell of the same 20 pushes."""
    told = in_processes(8, register_same, registry_url)
    assert [1] * 20 == [sum(made) for made in zip(*told, strict=True)]
    assert 20 == len(registry.list_deployments(limit=100))


def test_deployments_come_newest_first_a_page_at_a_time(steps):
    made = [steps.register(A, f"refs/heads/b{n}").name for n in range(5)]
    first = steps.registry.list_deployments(limit=2)
    second = steps.registry.list_deployments(limit=2, before=first[-1].id)
    third = steps.registry.list_deployments(limit=2, before=second[-1].id)
    assert made[::-1] == [d.name for page in (first, second, third) for d in page]
    assert () == first[0].events


def test_deployments_are_filtered_by_source_model_ref_and_state(steps):
    live = steps.live(A)
    tag = steps.register(A, "refs/tags/v1")
    other = steps.register(A, path="two", model="other")
    listed = steps.registry.list_deployments

    def names(**filters):
        return {deployment.name for deployment in listed(limit=9, **filters)}

    assert {live.name, tag.name} == names(model="iris")
    assert {other.name} == names(model="other")
    assert {tag.name} == names(ref="v1") == names(ref="refs/tags/v1")
    assert {live.name, other.name} == names(ref="main")
    assert {live.name} == names(state=DeploymentState.READY)
    assert {other.name} == names(ref="main", state=DeploymentState.QUEUED)
    assert set() == names(ref="nowhere")
    failed = steps.register(A, source="https://git.example/rose.git")
    assert {failed.name} == names(source=failed.source)
    assert {live.name, tag.name, other.name} == names(source=live.source)


def test_a_deployment_that_is_not_there_is_named(registry):
    with pytest.raises(NotFound, match="d-nowhere") as caught:
        registry.get_deployment("d-nowhere")
    assert "DEPLOYMENT_NOT_FOUND" == caught.value.code_reason


def test_times_are_exact_and_in_utc(steps, clock):
    """Microseconds survive; a time without zone is a mistake of ours."""
    steps.at(0.123457)
    made = steps.registry.get_deployment(steps.register().name)
    assert at(0.123457) == made.created_at
    clock.time = NOON.replace(tzinfo=None)
    with pytest.raises(TypeError):
        steps.register(B)
