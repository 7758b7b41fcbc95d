"""The decisions of register, deployer and reconciler, by tables."""

import pytest

from pushserve_server.deploy.decide import (
    CheckReachable,
    GoOn,
    Loaded,
    LoadFailed,
    RefAt,
    Retire,
    Waiting,
    after_loads,
    after_resolving,
    behind,
    pause_before,
    registrations,
    steps_to,
)
from pushserve_server.deploy.naming import choose_name, slug
from pushserve_server.deploy.reconciler import SilentSources
from pushserve_server.deploy.register_target import Target, clean_target
from pushserve_server.errors import BadInput, DeploymentFailed

MAIN, TAG = "refs/heads/main", "refs/tags/v1"
A, B, C = "a" * 40, "b" * 40, "c" * 40


@pytest.mark.parametrize(
    ("ref", "commit", "remote", "decision"),
    [
        (MAIN, A, {MAIN: A}, GoOn(A, moved=False)),
        (MAIN, A, {MAIN: B}, GoOn(B, moved=True)),
        (MAIN, "", {MAIN: B}, GoOn(B, moved=False)),
        (MAIN, A, {TAG: A}, Retire()),
        (MAIN, "", {}, Retire()),
        # A bare commit at the tip of something needs no look at the history.
        ("", A, {MAIN: A}, GoOn(A, moved=False)),
        ("", A, {MAIN: B}, CheckReachable(A)),
        ("", A, {}, CheckReachable(A)),
    ],
)
def test_what_the_remote_says_decides(ref, commit, remote, decision):
    assert decision == after_resolving(ref, commit, remote)


@pytest.mark.parametrize(
    ("live", "loads", "outcome"),
    [
        ([], {}, Loaded()),
        (["f1"], {}, Waiting(("f1",))),
        (["f1", "f2"], {"f1": None}, Waiting(("f2",))),
        (["f1", "f2"], {"f1": None, "f2": None}, Loaded()),
        (["f1", "f2"], {"f1": None, "f2": "no memory"}, LoadFailed("f2", "no memory")),
        # What a dead frontend said counts no more.
        (["f1"], {"f1": None, "dead": "no memory"}, Loaded()),
    ],
)
def test_every_live_frontend_has_to_load_it(live, loads, outcome):
    assert outcome == after_loads(live, loads)


@pytest.mark.parametrize(
    ("live", "generation", "late"),
    [
        ([], 7, ()),
        ([("f1", 7), ("f2", 8)], 7, ()),
        ([("f1", 6), ("f2", 7), ("f3", -1)], 7, ("f1", "f3")),
    ],
)
def test_frontends_that_answer_as_before_are_named(live, generation, late):
    assert late == behind(live, generation)


def test_pauses_grow_to_a_bound():
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] == [pause_before(n) for n in range(1, 8)]
    assert 15.0 == pause_before(10_000)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ({"asked": "a", "registered": "", "manifest": None}, "a"),
        ({"asked": "", "registered": "r", "manifest": None}, "r"),
        ({"asked": "", "registered": "r", "manifest": "r"}, "r"),
        ({"asked": "", "registered": "", "manifest": "m"}, "m"),
        ({"asked": "", "registered": "", "manifest": None}, "iris"),
        ({"asked": "", "registered": "", "manifest": None, "path": "models/Wine Quality"},
         "wine-quality"),
        ({"asked": "", "registered": "", "manifest": None, "path": "_"}, "iris"),
        ({"asked": "", "registered": "", "manifest": None, "source": "git@h:acme/Iris_2.git"},
         "iris_2"),
    ],
)  # fmt: skip
def test_the_model_is_named_by_the_first_that_says_it(names, name):
    defaults = {"path": "", "source": "https://git.example/acme/iris.git"}
    assert name == choose_name(**(defaults | names))


@pytest.mark.parametrize(("asked", "registered"), [("", "r"), ("r", "")])
def test_a_manifest_that_renames_a_model_is_refused(asked, registered):
    with pytest.raises(DeploymentFailed) as caught:
        choose_name(asked=asked, registered=registered, manifest="m", path="", source="")
    assert "MODEL_RENAMED" == caught.value.reason
    assert 'name = "r"' in caught.value.fix


def test_a_name_that_nothing_gives_is_asked_for():
    with pytest.raises(DeploymentFailed) as caught:
        choose_name(asked="", registered="", manifest=None, path="", source="https://h/___")
    assert "MODEL_NAME_MISSING" == caught.value.reason


@pytest.mark.parametrize(
    ("text", "name"),
    [("Iris", "iris"), ("My Model!", "my-model"), ("--a--", "a"), ("é", ""), ("", "")],
)
def test_any_text_becomes_a_name(text, name):
    assert name == slug(text)


@pytest.mark.parametrize(
    ("seen", "remote", "actions"),
    [
        ({MAIN: A}, {MAIN: A}, ()),
        ({MAIN: A}, {MAIN: B}, (RefAt(MAIN, B),)),
        ({MAIN: A}, {}, (RefAt(MAIN, ""),)),
        # Gone and known to be gone; unresolved so far.
        ({MAIN: ""}, {}, ()),
        ({MAIN: ""}, {MAIN: A}, (RefAt(MAIN, A),)),
        # Refs that nobody registered are not served.
        ({MAIN: A}, {MAIN: A, TAG: B}, ()),
        ({MAIN: A, TAG: A}, {MAIN: B, TAG: C}, (RefAt(MAIN, B), RefAt(TAG, C))),
        ({}, {MAIN: A}, ()),
    ],
)
def test_reconciling_registers_what_differs(seen, remote, actions):
    assert actions == registrations(seen, remote)


DEV = "refs/heads/dev"


@pytest.mark.parametrize(
    ("wanted", "default", "head", "steps"),
    [
        (RefAt(MAIN, ""), MAIN, DEV, (RefAt(DEV, B), RefAt(MAIN, ""))),
        (RefAt(MAIN, ""), MAIN, None, (RefAt(MAIN, ""),)),
        (RefAt(TAG, ""), MAIN, DEV, (RefAt(TAG, ""),)),
        (RefAt(MAIN, ""), "", DEV, (RefAt(MAIN, ""),)),
        (RefAt(MAIN, C), MAIN, DEV, (RefAt(MAIN, C),)),
    ],
)
def test_a_default_branch_that_is_gone_has_a_successor_first(wanted, default, head, steps):
    assert steps == steps_to(wanted, default, head, {DEV: B})


def target(**changes):
    fields = {"source": "https://h/a", "ref": "", "commit": "", "path": "", "model": ""}
    return clean_target(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "cleaned"),
    [
        ({}, {}),
        ({"ref": "HEAD"}, {"ref": ""}),
        ({"ref": "refs/tags/v1.0"}, {"ref": "refs/tags/v1.0"}),
        ({"ref": "feature/x-1"}, {"ref": "feature/x-1"}),
        ({"commit": A.upper()}, {"commit": A}),
        ({"path": "./models//iris/"}, {"path": "models/iris"}),
        ({"path": "."}, {"path": ""}),
        ({"source": "https://me:secret@H/a"}, {"source": "https://h/a"}),
    ],
)
def test_a_target_is_written_in_one_way(changes, cleaned):
    plain = {"source": "https://h/a", "path": "", "ref": "", "commit": "", "model": ""}
    assert Target(**(plain | cleaned)) == target(**changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ref": "--upload-pack=x"}, "ref"),
        ({"ref": "a..b"}, "ref"),
        ({"ref": "a b"}, "ref"),
        ({"ref": "main\n"}, "ref"),
        ({"ref": "x.lock"}, "ref"),
        ({"ref": "refs/pull/1/head"}, "ref"),
        ({"ref": "x" * 2000}, "ref"),
        ({"commit": "abc"}, "commit"),
        ({"commit": A, "ref": "main"}, "commit"),
        ({"path": "/etc"}, "path"),
        ({"path": "a/../../b"}, "path"),
        ({"path": "a\\b"}, "path"),
        ({"model": "Iris Model"}, "model"),
        ({"source": "ext::sh -c x"}, "source"),
    ],
)
def test_a_target_that_is_wrong_names_the_field(changes, field):
    with pytest.raises(BadInput) as caught:
        target(**changes)
    assert [field] == [violation.field for violation in caught.value.violations]
    assert caught.value.violations[0].description


def test_a_source_that_does_not_answer_is_left_out_for_longer_and_longer():
    sources, looked, last = SilentSources(60), [], -60
    for now in range(0, 7200, 60):
        if sources.is_due("slow", now):
            looked.append(now - last)
            last = now
            sources.failed("slow", now)
        assert sources.is_due("good", now)
    assert [60, 60, 120, 240, 480, 900] == looked[:6]
    assert {900} == set(looked[5:])
    sources.answered("slow")
    assert sources.is_due("slow", 7200)
    assert 60 == sources.failed("slow", 7200)
