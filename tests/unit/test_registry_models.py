"""Models, refs and versions by name; Pin, Unpin, Delete."""

import pytest

from pushserve_server.domain.states import DeploymentState
from pushserve_server.errors import BadInput, NotFound
from pushserve_server.registry import Superseded
from pushserve_server.registry.row_records import default_ref
from tests.fixtures.registry import MAIN, NOON, SOURCE, at, sha

A, B = sha("a"), sha("b")
DEV, TAG = "refs/heads/dev", "refs/tags/v1"


@pytest.mark.parametrize(
    ("expected", "names", "branch", "hint"),
    [
        (DEV, [DEV, MAIN], DEV, TAG),
        (DEV, [TAG, DEV], DEV, TAG),
        (TAG, [DEV, TAG], "refs/heads/trunk", TAG),
        ("", [DEV, TAG], "refs/heads/trunk", ""),
        ("", [DEV, TAG], MAIN, MAIN),
        ("", [], MAIN, MAIN),
    ],
)
def test_the_default_ref(expected, names, branch, hint):
    assert expected == default_ref(names, branch, hint)


def test_the_default_ref_follows_what_there_is(steps):
    """What the model was made from, then whatever branch is the remote's default."""
    found = []
    steps.live(A, TAG, default_branch="")
    found.append(steps.registry.get_model("iris").default_ref)
    steps.live(A, DEV, default_branch="dev")
    found.append(steps.registry.get_model("iris").default_ref)
    steps.live(A, MAIN, default_branch="dev")
    found.append(steps.registry.get_model("iris").default_ref)
    before = steps.registry.generation()
    steps.registry.note_default_branch(SOURCE, "main")
    assert before < steps.registry.generation()
    found.append(steps.registry.get_model("iris").default_ref)
    assert [TAG, DEV, DEV, MAIN] == found
    assert MAIN == steps.registry.snapshot(60).models[0].default_ref
    assert MAIN == steps.registry.resolve_ref("iris", "").name


@pytest.mark.parametrize("branch", ["main", "trunk", ""], ids=["here", "elsewhere", "unknown"])
def test_calls_that_name_no_ref_never_move_in_silence(steps, branch):
    """The default branch is deleted here, or gone at the remote; a tag and a branch are left."""
    steps.live(A, TAG, default_branch="main")
    steps.live(A, MAIN, default_branch="main")
    steps.live(B, DEV, default_branch=branch)
    assert MAIN == steps.registry.resolve_ref("iris", "").name
    steps.registry.delete("iris", MAIN)
    assert "" == steps.registry.get_model("iris").default_ref
    assert "" == steps.registry.snapshot(60).models[0].default_ref
    with pytest.raises(NotFound, match="the default branch of 'iris' is not served"):
        steps.registry.resolve_ref("iris", "")
    assert {TAG, DEV} == {ref.name for ref in steps.registry.get_model("iris").refs}


def test_a_model_is_read_back(steps):
    steps.live(A, path="models/iris")
    model = steps.registry.get_model("iris")
    assert ("iris", SOURCE, "models/iris", NOON) == (
        model.name,
        model.source,
        model.path,
        model.created_at,
    )
    assert [(MAIN, 1, A, None)] == [(r.name, r.version, r.commit, r.pinned) for r in model.refs]
    with pytest.raises(NotFound, match="'rose'"):
        steps.registry.get_model("rose")


def test_models_come_by_name_a_page_at_a_time(steps):
    for name in ("rose", "a-b", "a.c", "a_d", "iris"):
        steps.live(A, path=name, model=name)
    listed = steps.registry.list_models
    first = [model.name for model in listed(limit=3)]
    second = [model.name for model in listed(limit=3, after=first[-1])]
    assert (["a-b", "a.c", "a_d"], ["iris", "rose"]) == (first, second)
    assert ["a_d"] == [model.name for model in listed(limit=9, prefix="a_")]
    assert [] == listed(limit=9, source="https://git.example/other.git")


def test_refs_are_found_by_full_and_short_name(steps):
    """A branch goes before a tag of the same name."""
    steps.live(A, "refs/tags/v1")
    steps.live(B, "refs/heads/v1")
    steps.live(A, "refs/tags/v2")
    found = [steps.registry.resolve_ref("iris", ref).name for ref in ("v1", "v2", TAG)]
    assert ["refs/heads/v1", "refs/tags/v2", TAG] == found
    with pytest.raises(NotFound, match=r"tags/v1, v1, tags/v2") as caught:
        steps.registry.resolve_ref("iris", "v3")
    assert "REF_NOT_FOUND" == caught.value.code_reason


def test_a_model_without_refs_says_what_to_name(steps):
    steps.live(A, "")
    with pytest.raises(NotFound, match="name a version"):
        steps.registry.resolve_ref("iris", "")


def test_versions_are_found_by_number_and_commit(steps):
    steps.live("abcdef0" + "1" * 33)
    steps.live("abcdef0" + "2" * 33)
    find = steps.registry.find_version
    assert 2 == find("iris", number=2).number
    assert 1 == find("iris", commit="ABCDEF01").number
    assert 2 == find("iris", commit="abcdef0" + "2" * 33).number
    with pytest.raises(BadInput, match="more than one"):
        find("iris", commit="abcdef0")
    with pytest.raises(NotFound, match=r"2 \(abcdef0\), 1 \(abcdef0\)"):
        find("iris", number=3)
    with pytest.raises(NotFound, match="bbbbbbb"):
        find("iris", commit="bbbbbbb")


@pytest.mark.parametrize("commit", ["abcdef", "abcdefg", "%%%%%%%", ""])
def test_what_is_no_commit_is_refused(steps, commit):
    steps.live(A)
    with pytest.raises(BadInput, match="7 hex digits") as caught:
        steps.registry.find_version("iris", commit=commit)
    assert "commit" == caught.value.violations[0].field


def test_a_pin_holds_while_git_moves_on(steps):
    steps.live(A)
    steps.live(B)
    pinned = steps.at(1).pin("iris", "", number=1, commit=None)
    assert (2, 1, A, at(1)) == (
        pinned.version,
        pinned.effective,
        pinned.effective_commit,
        pinned.updated_at,
    )
    steps.live(sha("c"))
    held = steps.registry.resolve_ref("iris", "main")
    assert (3, 1) == (held.version, held.effective)
    free = steps.at(2).unpin("iris", "main")
    assert (3, 3, None) == (free.version, free.effective, free.pinned)


def test_a_pin_without_a_version_holds_what_answers_now(steps):
    steps.live(A)
    steps.live(B)
    steps.registry.pin("iris", "main", number=None, commit="aaaaaaa")
    again = steps.registry.pin("iris", "main", number=None, commit=None)
    assert 1 == again.pinned


def test_pins_change_what_is_served(steps):
    steps.live(A)
    steps.live(B)
    versions = {v.number: v.id for v in steps.registry.versions("iris")}
    seen = [steps.registry.snapshot(60)]
    steps.registry.pin("iris", "main", number=1, commit=None)
    seen.append(steps.registry.snapshot(60))
    steps.registry.unpin("iris", "main")
    seen.append(steps.registry.snapshot(60))
    routes = [snapshot.models[0].routes[0].version_id for snapshot in seen]
    assert [versions[2], versions[1], versions[2]] == routes
    assert seen[0].generation < seen[1].generation < seen[2].generation
    steps.registry.unpin("iris", "main")
    assert seen[2].generation == steps.registry.generation()


def test_pinning_what_is_not_there_is_refused(steps):
    steps.live(A)
    for model, ref, number in (("rose", "", 1), ("iris", "dev", 1), ("iris", "", 2)):
        with pytest.raises(NotFound):
            steps.registry.pin(model, ref, number=number, commit=None)


def test_a_deleted_ref_is_served_no_more(steps):
    steps.live(A)
    steps.live(A, DEV)
    assert [DEV] == steps.registry.delete("iris", "dev")
    assert [MAIN] == [ref.name for ref in steps.registry.get_model("iris").refs]
    assert steps.register_told(A, DEV)[1]
    assert not steps.register_told(A)[1]
    with pytest.raises(NotFound, match="it has main"):
        steps.registry.delete("iris", "dev")


def test_a_deleted_model_is_gone_with_all_but_its_history(steps):
    live = steps.live(A)
    steps.live(B, DEV)
    steps.registry.pin("iris", "dev", number=1, commit=None)
    other = steps.live(A, path="two", model="rose")
    versions = [version.id for version in steps.registry.versions("iris")]
    steps.registry.keep_alive([versions[0]])
    assert [MAIN, DEV] == steps.registry.delete("iris", "")
    with pytest.raises(NotFound):
        steps.registry.get_model("iris")
    snapshot = steps.registry.snapshot(60)
    assert ["rose"] == [model.name for model in snapshot.models]
    assert {steps.registry.find_built("rose", A).id} == snapshot.in_use
    assert {} == steps.registry.versions_by_id(versions)
    assert DeploymentState.READY is steps.registry.get_deployment(live.name).state
    assert not steps.register_told(A, path="two")[1]
    assert other.name == steps.register(A, path="two").name


def test_a_deleted_model_can_come_back_under_new_ids(steps):
    """Frontends know versions by their ids, so none is given twice."""
    steps.live(A)
    old = steps.registry.find_built("iris", A)
    steps.registry.delete("iris", "")
    steps.live(A, model="iris")
    new = steps.registry.find_built("iris", A)
    assert (1, True) == (new.number, new.id > old.id)


def test_deleting_ends_the_deployments_under_way(steps):
    steps.live(A)
    queued = steps.register(A, DEV)
    taken = steps.take()
    steps.registry.delete("iris", "")
    ended = steps.registry.get_deployment(queued.name)
    assert (DeploymentState.FAILED, "DELETED") == (ended.state, ended.failure.reason)
    assert DeploymentState.FETCHING is ended.failure.step
    with pytest.raises(Superseded, match="deleted"):
        steps.build(taken)
