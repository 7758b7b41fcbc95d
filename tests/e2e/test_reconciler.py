"""What no event told, the reconciler finds."""

from dataclasses import replace

import pytest

from pushserve_server.domain.states import DeploymentState as S
from tests.fixtures.deploying import iris_model


def newest(yard):
    return yard.ended(yard.registry.list_deployments(limit=1)[0])


def test_a_push_that_nobody_told_goes_live(yard):
    reconciler = yard.reconciler()
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        assert 0 == reconciler.reconcile()
        commit = yard.repo.force({"model.pkl": iris_model(0.1)})
        assert 1 == reconciler.reconcile()
        assert (S.READY, commit) == (newest(yard).state, newest(yard).commit)
        assert 0 == reconciler.reconcile()
    assert 2 == yard.served()


def test_a_deleted_branch_is_retired_and_comes_back(yard):
    reconciler = yard.reconciler()
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.live({"model.pkl": iris_model(0.1)}, branch="next")
        commit = yard.repo.git("rev-parse", "next")
        yard.repo.delete_ref("refs/heads/next")
        assert 1 == reconciler.reconcile()
        newest(yard)
        assert (1, None) == (yard.served(), yard.served("next"))
        yard.repo.set_ref("refs/heads/next", commit)
        assert 1 == reconciler.reconcile()
        newest(yard)
    assert 2 == yard.served("next")


def test_branches_that_nobody_registered_are_left_alone(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
    yard.repo.force({"model.pkl": iris_model()}, branch="draft")
    assert 0 == yard.reconciler().reconcile()


def test_branches_that_the_operator_asks_for_are_found(yard):
    """Also while no event tells of them; what he leaves out, or somebody deleted here, is not."""
    (rule,) = [each for each in yard.settings.sources if yard.repo.url.startswith(each.url[:-2])]
    rules = (replace(rule, refs=("main", "release/*", "tags/*", "!*-draft")),)
    yard.settings = replace(yard.settings, sources=rules)
    reconciler = yard.reconciler()
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        for branch in ("release/1", "release/2-draft", "feature"):
            yard.repo.force({"model.pkl": iris_model(0.1)}, branch=branch)
        yard.repo.tag("v1", "release/1", annotated=True)
        assert 2 == reconciler.reconcile()
        for deployment in yard.registry.list_deployments(limit=2):
            assert S.READY is yard.ended(deployment).state
        refs = {"refs/heads/main", "refs/heads/release/1", "refs/tags/v1"}
        assert refs == {ref.name for ref in yard.registry.get_model("iris").refs}
        assert 0 == reconciler.reconcile()
        yard.registry.delete("iris", "v1")
        assert 0 == reconciler.reconcile()
        yard.repo.force({"model.pkl": iris_model(0.2)}, branch="release/1")
        assert 1 == reconciler.reconcile()
        newest(yard)


def test_what_the_operator_leaves_out_later_stays_as_it_is(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.live({"model.pkl": iris_model(0.1)}, branch="next")
    yard.settings = replace(
        yard.settings, sources=tuple(replace(r, refs=("!next",)) for r in yard.settings.sources)
    )
    yard.repo.force({"model.pkl": iris_model(0.2)}, branch="next")
    assert 0 == yard.reconciler().reconcile()
    assert 2 == yard.served("next")
    yard.repo.delete_ref("refs/heads/next")
    assert 1 == yard.reconciler().reconcile()


def test_a_source_that_is_gone_disturbs_no_other(yard, git_host):
    gone = git_host.create("gone")
    gone.force({"model.pkl": iris_model()})
    with yard.deployer():
        yard.ended(yard.register(source=gone.url))
        yard.live({"model.pkl": iris_model()})
        gone.path.rename(gone.path.with_name("elsewhere"))
        yard.repo.force({"model.pkl": iris_model(0.1)})
        assert 1 == yard.reconciler().reconcile()
        newest(yard)
    assert (2, 1) == (yard.served(), yard.served(model="gone"))


def test_it_looks_by_itself_at_start(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.repo.force({"model.pkl": iris_model(0.1)})
        reconciler = yard.reconciler()
        reconciler.start()
        try:
            first = yard.registry.list_deployments(limit=1)[0]
            while (found := yard.registry.list_deployments(limit=1)[0]).id == first.id:
                yard.until(first, lambda _: True, "asked")
            yard.ended(found)
        finally:
            reconciler.stop()
    assert 2 == yard.served()


def rename_main(yard, name):
    """As a Git host does it: the branch, and what its HEAD is."""
    commit = yard.repo.git("rev-parse", "main")
    yard.repo.set_ref(f"refs/heads/{name}", commit)
    yard.repo.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
    yard.repo.delete_ref("refs/heads/main")


@pytest.mark.parametrize("told_by", ["the poll", "an event"])
def test_a_default_branch_that_is_renamed_answers_all_the_time(yard, told_by):
    """Its new name is served before the old one ends, and no other branch is in between."""
    reconciler = yard.reconciler()
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.live({"model.pkl": iris_model(0.1)}, branch="other")
    rename_main(yard, "trunk")
    if told_by == "the poll":
        assert 1 == reconciler.reconcile()
    else:
        assert "refs/heads/trunk" == yard.register(ref="main").ref
    assert "refs/heads/main" == yard.registry.get_model("iris").default_ref
    assert 0 == reconciler.reconcile()
    assert "refs/heads/main" == yard.registry.get_model("iris").default_ref
    with yard.deployer():
        newest(yard)
        assert "refs/heads/trunk" == yard.registry.get_model("iris").default_ref
        assert 1 == reconciler.reconcile()
        newest(yard)
        assert 0 == reconciler.reconcile()
    assert (1, 1, None, 2) == (
        yard.served(""),
        yard.served("trunk"),
        yard.served("main"),
        yard.served("other"),
    )


def test_the_default_follows_the_remote_where_nothing_else_has_changed(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.live({"model.pkl": iris_model(0.1)}, branch="other")
    yard.repo.git("symbolic-ref", "HEAD", "refs/heads/other")
    assert 0 == yard.reconciler().reconcile()
    assert "refs/heads/other" == yard.registry.get_model("iris").default_ref


def test_a_default_branch_that_is_gone_for_good_is_followed_by_none(yard):
    with yard.deployer():
        yard.live({"model.pkl": iris_model()})
        yard.live({"model.pkl": iris_model(0.1)}, branch="other")
        yard.repo.delete_ref("refs/heads/main")
        assert 1 == yard.reconciler().reconcile()
        newest(yard)
    assert "" == yard.registry.get_model("iris").default_ref
    assert 2 == yard.served("other")
