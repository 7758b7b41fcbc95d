"""Versions, and the moves of refs to them."""

import pytest

from pushserve_server.domain.records import EngineName, Failure
from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import AlreadyExists, NotFound, NotPossibleNow
from pushserve_server.registry import Superseded
from tests.fixtures.registry import MAIN, NOON, POSTGRES_LATER, SIGNATURE, SOURCE, at, sha, token

pytestmark = POSTGRES_LATER

A, B = sha("a"), sha("b")
DEV = "refs/heads/dev"
S = DeploymentState


def test_a_version_is_read_back_as_it_was_built(steps):
    steps.loading(A)
    found = steps.registry.find_built("iris", A)
    assert found == steps.registry.versions_by_id([found.id])[found.id]
    assert ("iris", 1, A, EngineName.WORKER, NOON) == (
        found.model,
        found.number,
        found.commit,
        found.engine,
        found.created_at,
    )
    assert SIGNATURE == found.signature
    assert {"format": "joblib"} == found.report


def test_what_was_not_built_is_not_found(steps):
    steps.loading(A)
    assert None is steps.registry.find_built("iris", B)
    assert None is steps.registry.find_built("rose", A)


def test_versions_are_numbered_for_each_model(steps):
    steps.live(A)
    steps.live(B)
    steps.live(A, path="two", model="rose")
    assert [2, 1] == [version.number for version in steps.registry.versions("iris")]
    assert [2] == [version.number for version in steps.registry.versions("iris", limit=1)]
    assert [1] == [version.number for version in steps.registry.versions("rose")]


def test_one_commit_is_one_version(steps):
    """The same commit on two refs is built once and keeps its first bundle."""
    steps.live(A)
    first = steps.registry.find_built("iris", A)
    steps.register(A, DEV)
    taken = steps.take()
    again = steps.registry.add_version(
        token(taken),
        model="iris",
        default_ref="",
        commit=A,
        engine=EngineName.ONNX,
        digest="f" * 64,
        signature=SIGNATURE,
        report={},
    )
    assert first == again
    assert 1 == steps.registry.get_deployment(taken.name).version


def test_a_built_commit_goes_straight_to_loading(steps):
    steps.live(A)
    steps.register(A, DEV)
    taken = steps.take()
    assert 1 == steps.advance(taken, S.LOADING).version
    steps.registry.activate(token(taken))
    assert [MAIN, DEV] == [ref.name for ref in steps.registry.get_model("iris").refs]


def test_a_name_that_was_taken_meanwhile_is_refused(steps):
    steps.register(A)
    steps.register(A, source=f"{SOURCE}/other")
    first, second = steps.take(), steps.take()
    steps.build(first, "iris")
    with pytest.raises(AlreadyExists, match="'iris'"):
        steps.build(second, "iris")
    assert S.BUILDING is steps.registry.get_deployment(second.name).state


def test_a_folder_is_not_built_under_another_name(steps):
    steps.live(A)
    steps.register(B)
    with pytest.raises(NotPossibleNow, match="'iris'"):
        steps.build(steps.take(), "rose")


def test_a_ref_moves_when_its_deployment_activates(steps):
    steps.live(A)
    taken = steps.loading(B)
    assert A == steps.registry.resolve_ref("iris", "main").commit
    before = steps.registry.generation()
    deployment = steps.at(5).activate(token(taken))
    ref = steps.registry.resolve_ref("iris", "main")
    assert (S.ACTIVATING, B, 2, at(5)) == (
        deployment.state,
        ref.commit,
        ref.version,
        ref.updated_at,
    )
    assert before < deployment.moved_generation <= steps.registry.generation()


def test_a_ref_moves_back_to_an_older_commit(steps):
    """A forced push to what was built before makes no new version."""
    steps.live(A)
    steps.live(B)
    steps.register(A)
    taken = steps.take()
    steps.advance(taken, S.LOADING)
    steps.registry.activate(token(taken))
    assert (1, A) == (
        steps.registry.resolve_ref("iris", "").version,
        steps.registry.resolve_ref("iris", "").commit,
    )
    assert 2 == len(steps.registry.versions("iris"))


def test_an_older_deployment_never_moves_a_ref_back(steps):
    """Even if Register had not superseded it."""
    older = steps.loading(A)
    newer = steps.register(B)
    deployments = steps.registry._store.tables.deployments
    with steps.registry._store.writing():
        deployments.update(state="LOADING").where(deployments.id == older.id).execute()
    with pytest.raises(Superseded, match=newer.name):
        steps.registry.activate(token(older))
    ended = steps.registry.get_deployment(older.name)
    assert (S.SUPERSEDED, newer.name) == (ended.state, ended.superseded_by)
    assert () == steps.registry.get_model("iris").refs


FAILURE = Failure("INTERNAL", S.ACTIVATING, "x", "y")


def test_what_has_moved_its_ref_never_fails(steps):
    """Until every frontend follows it is ACTIVATING, and then READY: nothing else is true."""
    taken = steps.loading(A)
    steps.registry.activate(token(taken))
    with pytest.raises(ValueError, match="has moved its ref"):
        steps.registry.fail(token(taken), FAILURE)
    assert S.ACTIVATING is steps.registry.get_deployment(taken.name).state
    assert S.READY is steps.registry.finish(token(taken)).state


def test_what_has_dropped_its_ref_never_fails(steps):
    steps.live(A)
    steps.register("")
    taken = steps.take()
    steps.registry.retire(token(taken))
    with pytest.raises(ValueError, match="has moved its ref"):
        steps.registry.fail(token(taken), FAILURE)
    assert "main is no longer served" == steps.registry.finish(token(taken)).message


@pytest.mark.parametrize("commit", [B, ""], ids=["moves it", "drops it"])
def test_a_newer_one_that_moves_the_ref_ends_one_that_is_not_confirmed_yet(steps, commit):
    """Nobody may be told that the older one answers: it does so no more."""
    older = steps.loading(A)
    steps.registry.activate(token(older))
    if commit:
        newer = steps.loading(commit)
        assert S.ACTIVATING is steps.registry.get_deployment(older.name).state
        steps.registry.activate(token(newer))
    else:
        steps.register(commit)
        newer = steps.take()
        steps.registry.retire(token(newer))
    ended = steps.registry.get_deployment(older.name)
    assert (S.SUPERSEDED, newer.name) == (ended.state, ended.superseded_by)
    with pytest.raises(Superseded):
        steps.registry.finish(token(older))
    assert S.READY is steps.registry.finish(token(newer)).state


def test_a_deleted_ref_ends_what_has_moved_it(steps):
    taken = steps.loading(A)
    steps.registry.activate(token(taken))
    steps.registry.delete("iris", "main")
    ended = steps.registry.get_deployment(taken.name)
    assert (S.FAILED, "DELETED") == (ended.state, ended.failure.reason)


@pytest.mark.parametrize(
    ("ref", "pinned", "said"),
    [
        (MAIN, None, "all traffic of main goes to version 2"),
        (MAIN, 2, "all traffic of main goes to version 2"),
        ("", None, "version 2 answers calls by its number or commit"),
        (MAIN, 1, "main is pinned to version 1, which answers until it is unpinned"),
    ],
)
def test_ready_says_which_version_answers(steps, ref, pinned, said):
    steps.live(A)
    taken = steps.loading(B, ref)
    if pinned is not None:
        steps.registry.pin("iris", "main", number=pinned, commit=None)
    steps.registry.activate(token(taken))
    done = steps.registry.finish(token(taken))
    assert S.READY is done.state
    assert done.message.endswith(said)


def test_nothing_activates_without_a_version(steps):
    steps.register(A)
    taken = steps.take()
    with pytest.raises(ValueError, match="no version"):
        steps.registry.activate(token(taken))


def test_a_bare_commit_moves_no_ref_and_stays_for_a_while(steps):
    steps.live(A, "")
    version = steps.registry.find_built("iris", A)
    assert () == steps.registry.get_model("iris").refs
    assert {version.id} == steps.at(59).snapshot(60).in_use
    assert set() == steps.at(60).snapshot(60).in_use


def test_a_ref_that_is_gone_from_the_remote_is_retired(steps):
    steps.live(A)
    steps.live(A, DEV)
    steps.register("", DEV)
    taken, before = steps.take(), steps.registry.generation()
    assert S.ACTIVATING is steps.registry.retire(token(taken)).state
    assert S.READY is steps.registry.finish(token(taken)).state
    assert [MAIN] == [ref.name for ref in steps.registry.get_model("iris").refs]
    assert before < steps.registry.generation()
    assert (taken.name, False) == (
        steps.register_told("", DEV)[0].name,
        steps.register_told("", DEV)[1],
    )


def test_a_pinned_ref_outlives_its_branch_until_it_is_unpinned(steps):
    steps.live(A)
    steps.registry.pin("iris", "main", number=None, commit=None)
    steps.register("")
    gone = steps.registry.retire(token(steps.take()))
    assert (S.READY, A) == (gone.state, steps.registry.resolve_ref("iris", "main").commit)
    assert not steps.register_told("")[1]
    steps.registry.unpin("iris", "main")
    assert steps.register_told("")[1]
    steps.registry.retire(token(steps.take()))
    assert () == steps.registry.get_model("iris").refs


def test_retiring_what_was_never_served_fails(steps):
    steps.register("", DEV)
    ended = steps.registry.retire(token(steps.take()))
    assert (S.FAILED, "REF_NOT_FOUND", S.FETCHING) == (
        ended.state,
        ended.failure.reason,
        ended.failure.step,
    )
    assert "'dev'" in ended.message


def test_a_lost_bundle_is_replaced(steps):
    steps.live(A)
    version, before = steps.registry.find_built("iris", A), steps.registry.generation()
    steps.registry.replace_bundle(version.id, "e" * 64, {"format": "skops"})
    changed = steps.registry.find_built("iris", A)
    assert ("e" * 64, {"format": "skops"}) == (changed.digest, changed.report)
    assert before < steps.registry.generation()
    with pytest.raises(NotFound):
        steps.registry.replace_bundle(version.id + 1, "e" * 64, {})


def test_a_source_may_hold_several_folders(steps):
    steps.live(A)
    steps.live(A, path="two", model="rose")
    assert ["iris", "rose"] == [m.name for m in steps.registry.list_models(source=SOURCE, limit=9)]


def build_as(steps, commit, build_key, ref=MAIN, **changes):
    """Take a commit to LOADING whose bundle was built of what `build_key` says."""
    steps.register(commit, ref)
    fields = {"model": "iris", "default_ref": "", "commit": commit, "engine": EngineName.ONNX,
              "digest": commit[:32] * 2, "signature": SIGNATURE, "report": {}}  # fmt: skip
    return steps.registry.add_version(
        token(steps.take()), build_key=build_key, **(fields | changes)
    )


def test_the_newest_version_of_the_same_build_is_found(steps):
    first = build_as(steps, A, "k" * 64)
    assert first == steps.registry.find_same_build("iris", "k" * 64)
    second = build_as(steps, B, "k" * 64, DEV, digest=first.digest)
    assert second == steps.registry.find_same_build("iris", "k" * 64)
    assert (2, first.digest) == (second.number, second.digest)
    assert None is steps.registry.find_same_build("iris", "l" * 64)
    assert None is steps.registry.find_same_build("rose", "k" * 64)
    assert [B, A] == [version.commit for version in steps.registry.versions("iris")]


def test_a_bundle_that_was_built_again_is_found_by_what_it_is_made_of_now(steps):
    version = build_as(steps, A, "k" * 64)
    steps.registry.replace_bundle(version.id, "e" * 64, {}, build_key="l" * 64)
    assert None is steps.registry.find_same_build("iris", "k" * 64)
    assert "e" * 64 == steps.registry.find_same_build("iris", "l" * 64).digest


def test_versions_of_which_nothing_is_known_are_not_the_same(steps):
    steps.live(A)
    assert None is steps.registry.find_same_build("iris", "k" * 64)
