"""History of a ref is kept up to a bound; what a ref, a pin or a lease needs stays."""

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import DeploymentState as S
from pushserve_server.errors import NotFound
from tests.fixtures.registry import MAIN, POSTGRES_LATER, SOURCE, sha, token

pytestmark = POSTGRES_LATER

BROKEN = Failure("ARTIFACT_MISSING", S.FETCHING, "no model", "add model.skops")
SILENT = Failure("REMOTE_UNREACHABLE", S.FETCHING, "silent", "wait")


def commit(number):
    return f"{number:040x}"


def fail(steps, number, ref=MAIN, **changes):
    made = steps.register(commit(number), ref, **changes)
    return steps.registry.fail(token(steps.take()), BROKEN) and made


def names(steps, ref=MAIN):
    return [d.name for d in steps.registry.list_deployments(ref=ref, limit=1000)]


def test_the_newest_fifty_of_a_ref_are_kept_with_their_events(steps):
    made = [fail(steps, n).name for n in range(60)]
    open_one = steps.register(commit(60)).name
    assert [open_one, *made[:9:-1]] == names(steps)
    assert 3 <= len(steps.registry.get_deployment(made[-1]).events)
    with pytest.raises(NotFound):
        steps.registry.get_deployment(made[0])
    with steps.registry._store.reading() as tables:
        kept = tables.deployments.select(tables.deployments.id)
        lost = tables.events.select().where(tables.events.deployment_id.not_in(kept))
        assert 0 == lost.count()


def test_refs_are_counted_apart(steps):
    tag = fail(steps, 1, "refs/tags/v1").name
    other = fail(steps, 1, path="folder").name
    for number in range(60):
        fail(steps, number)
    assert [tag] == names(steps, "refs/tags/v1")
    assert other == steps.registry.get_deployment(other).name


def test_what_serves_stays_however_many_have_failed_since(steps):
    live = steps.live(sha("a"))
    pinned = steps.registry.pin("iris", MAIN, number=1, commit=None)
    for number in range(60):
        fail(steps, number)
    assert live.name in names(steps)
    # Fifty when the last was made, that one, and the one that serves.
    assert 52 == len(names(steps))
    assert 1 == steps.registry.resolve_ref("iris", MAIN).effective == pinned.effective
    # It is built already; asking for it again makes a deployment, and no version.
    assert steps.register_told(sha("a"))[1]


def test_bare_commits_are_counted_together_and_can_be_registered_again(steps):
    steps.live(sha("b"), "")
    for number in range(60):
        fail(steps, number, "")
    again, new = steps.register_told(sha("b"), "")
    assert (True, S.QUEUED) == (new, again.state)
    assert 1 == steps.registry.find_version("iris", commit=sha("b")).number


def test_one_that_is_held_stays_while_newer_ones_of_its_kind_end(steps):
    """Bare commits do not supersede one another."""
    steps.register(sha("b"), "")
    held = steps.take("other")
    for number in range(60):
        steps.register(commit(number), "")
        steps.registry.advance(token(held, "other"), S.CHECKING, "at work")
        taken = steps.lease()
        assert None is taken  # of its source one is at work
    assert held.name == steps.registry.get_deployment(held.name).name


def test_of_failures_that_nobody_asked_for_ten_are_kept(steps):
    asked = fail(steps, 1).name
    for number in range(30):
        steps.at(number * 3600).register(
            source=SOURCE, path="", ref=MAIN, commit=commit(2), model="", retry=False,
            default_branch="main", automatic=True,
        )  # fmt: skip
        steps.registry.fail(token(steps.take()), SILENT, retry_pause=60)
    # The eleventh went when the next was made, and the last one stands for itself.
    assert 12 == len(names(steps))
    assert asked in names(steps)
