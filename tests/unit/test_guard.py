"""The guard: who is let in by which token, and what they are told else."""

import ast
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.access.guard import ANYBODY, Guard
from pushserve_server.access.method_rules import METHOD_RULES, ModelOf
from pushserve_server.api import status
from pushserve_server.domain.access_token import LENGTH, Scope, is_token, new_token
from pushserve_server.errors import NotAllowed, PushserveError, Unauthenticated
from tests.fixtures.import_rules import ROOT
from tests.fixtures.tokens import bearer, make

SERVICE = "/pushserve.v1.ModelService/"
PREDICT, LIST, REGISTER, DELETE = (
    SERVICE + name for name in ("Predict", "List", "Register", "Delete")
)
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guard(clock):
    return Guard(required=True, now=clock)


def refused(guard: Guard, method: str, metadata=()) -> str:
    with pytest.raises(PushserveError) as caught:
        guard.admit(method, metadata)
    wanted = {"MODEL_NOT_ALLOWED": NotAllowed, "SCOPE_MISSING": NotAllowed}
    reason = caught.value.code_reason
    assert wanted.get(reason, Unauthenticated) is type(caught.value)
    return reason


def test_where_no_token_is_asked_for_anybody_may_do_everything():
    guard = Guard(required=False)
    for method in METHOD_RULES:
        assert ANYBODY is guard.admit(method, ())


def test_nothing_is_let_in_by_an_empty_table(guard):
    assert "TOKEN_MISSING" == refused(guard, PREDICT)
    for text in ("", "psv_", "x", new_token(), "x" * 5000, "\udcff", "psv_" + "é" * 78):
        assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(text))


def test_health_is_open_if_it_is_opened(clock):
    for opened in ((), ("health",), ("reflection",), ("health", "reflection")):
        guard = Guard(required=True, opened=opened, now=clock)
        for name, method in (("health", CHECK), ("reflection", REFLECT)):
            if name in opened:
                assert ANYBODY is guard.admit(method, ())
            else:
                assert "TOKEN_MISSING" == refused(guard, method)
        assert "TOKEN_MISSING" == refused(guard, "/grpc.health.v1.Health/List")


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "{}"])
def test_a_token_is_taken_with_or_without_the_word(guard, form):
    text, kept = make("predict")
    guard.follow([kept])
    assert kept.id == guard.admit(PREDICT, [("x", "y"), ("authorization", form.format(text))]).id


def test_every_character_of_a_token_counts(guard):
    text, kept = make("admin")
    guard.follow([kept])
    for i, character in enumerate(text):
        other = "0" if character != "0" else "1"
        assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(text[:i] + other + text[i + 1 :]))
    for wrong in (text[:-1], text + "0", text + text, " " + text, text.upper()):
        assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(wrong))
    assert "TOKEN_MISSING" == refused(guard, PREDICT, [("authorization-bin", text.encode())])
    assert "TOKEN_MISSING" == refused(guard, PREDICT, [("authorization", b"x")])


def test_the_id_of_one_and_the_secret_of_another(guard):
    one, kept_one = make("admin")
    two, kept_two = make("admin")
    guard.follow([kept_one, kept_two])
    assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(one[:17] + two[17:]))


SCOPES = {
    "predict": {"Predict", "PredictStream", "PredictStream (request)", "Get", "Info"},
    "read": {
        *("List", "Get", "Info", "GetDeployment", "ListDeployments", "WatchDeployment"),
    },
    "deploy": {
        *("List", "Get", "Info", "GetDeployment", "ListDeployments", "WatchDeployment"),
        *("Register", "Pin", "Unpin"),
    },
}


@pytest.mark.parametrize("scope", [*SCOPES, "admin"])
def test_what_each_scope_is_good_for(guard, scope):
    text, kept = make(scope)
    guard.follow([kept])
    for method in (name for name in METHOD_RULES if name.startswith(SERVICE)):
        if scope == "admin" or method.removeprefix(SERVICE) in SCOPES[scope]:
            assert kept.id == guard.admit(method, bearer(text)).id
        else:
            assert "SCOPE_MISSING" == refused(guard, method, bearer(text))


def test_two_scopes_are_both(guard):
    text, kept = make("predict", "deploy")
    guard.follow([kept])
    assert guard.admit(PREDICT, bearer(text))
    assert guard.admit(REGISTER, bearer(text))
    assert "SCOPE_MISSING" == refused(guard, DELETE, bearer(text))


def test_a_missing_scope_says_which_would_do(guard):
    text, kept = make("predict")
    guard.follow([kept])
    with pytest.raises(NotAllowed) as caught:
        guard.admit(LIST, bearer(text))
    said = "List needs a token with scope read or deploy or admin; this one has predict"
    assert said == caught.value.message


def test_expiry_is_looked_at_in_each_call(guard, clock):
    text, kept = make("predict", expires_at=NOON)
    guard.follow([kept])
    clock.time = NOON - timedelta(microseconds=1)
    assert guard.admit(PREDICT, bearer(text))
    clock.time = NOON
    assert "TOKEN_EXPIRED" == refused(guard, PREDICT, bearer(text))


def test_a_revoked_token_and_one_that_is_gone(guard):
    text, kept = make("predict", revoked_at=NOON)
    guard.follow([kept])
    assert "TOKEN_REVOKED" == refused(guard, PREDICT, bearer(text))
    guard.follow([])
    assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(text))


def test_only_who_has_the_secret_hears_that_a_token_was_revoked_or_has_expired(guard):
    text, kept = make("predict", revoked_at=NOON)
    old_text, old = make("predict", expires_at=NOON)
    guard.follow([kept, old])
    for known in (text, old_text):
        assert "TOKEN_UNKNOWN" == refused(guard, PREDICT, bearer(known[:17] + "0" * 64))


def test_use_is_noted_once_and_kept_over_a_new_table(guard, clock):
    text, kept = make("predict")
    other_text, other = make("read")
    guard.follow([kept, other])
    guard.admit(PREDICT, bearer(text))
    refused(guard, PREDICT, bearer(other_text))
    guard.follow([kept, other])
    assert {kept.id: NOON} == guard.uses()
    assert {} == guard.uses()
    clock.time = NOON + timedelta(seconds=9)
    guard.admit(PREDICT, bearer(text))
    assert {kept.id: clock.time} == guard.uses()


@pytest.mark.parametrize(
    ("models", "name", "expected"),
    [
        (("iris",), "iris", True),
        (("iris",), "iris2", False),
        (("iris",), "Iris", False),
        (("iris",), "", False),
        (("team-*", "x"), "team-a", True),
        (("team-*",), "other-team-a", False),
        (("*",), "anything", True),
        (("*",), "", True),
    ],
)
def test_a_token_for_some_models(guard, models, name, expected):
    text, kept = make("predict", models=models)
    guard.follow([kept])
    principal = guard.admit(PREDICT, bearer(text))
    assert expected == principal.may_see(name)
    if expected:
        principal.check_model(name)
        return
    with pytest.raises(NotAllowed) as caught:
        principal.check_model(name)
    assert "MODEL_NOT_ALLOWED" == caught.value.code_reason


def test_tokens_are_random_and_of_one_form():
    made = [new_token() for _ in range(1000)]
    assert 1000 == len(set(made))
    assert {LENGTH} == set(map(len, made))
    assert all(map(is_token, made))
    assert not any(map(is_token, ("", made[0] + "\n", made[0][:-1], made[0].upper())))
    assert 64 == len(made[0].rpartition("_")[2])  # 256 bits


def test_what_is_kept_is_a_sha_256():
    text, kept = make("predict")
    assert hashlib.sha256(text.encode()).digest() == kept.digest


def test_the_path_of_a_call_reads_no_registry_and_compares_in_constant_time():
    """By the text of the module: nothing in it could wait, and no digest is compared by ==."""
    tree = ast.parse((ROOT / "server/pushserve_server/access/guard.py").read_text())
    imports = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert set() == {name for name in imports if name and "registry" in name}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "compare_digest" in called
    compared = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Compare)]
    assert [] == [text for text in compared if "digest" in text]


def test_refusals_of_tokens_are_made_once():
    """So that a wrong token costs no more than a right one."""
    made = [
        status.failure(Unauthenticated("this server does not know this token", reason="X"))
        for _ in range(2)
    ]
    assert made[0].details is made[1].details


def test_every_message_with_a_model_is_covered():
    """What the requests and replies hold decides how a model is found, not what somebody wrote."""
    for method in pb.DESCRIPTOR.services_by_name["ModelService"].methods:
        rule = METHOD_RULES[f"{SERVICE}{method.name}"]
        fields = set(method.input_type.fields_by_name)
        replies = set(method.output_type.fields_by_name)
        if {"models", "deployments"} & replies:
            assert ModelOf.LISTED is rule.model
        elif "model" in fields:
            assert ModelOf.REQUEST is rule.model
        elif "deployment" in replies:
            assert ModelOf.DEPLOYMENT is rule.model
        else:
            assert method.name in {"PredictStream", "Info"}
            assert ModelOf.NONE is rule.model


def test_nobody_can_do_nothing():
    assert set(Scope) == {scope for rule in METHOD_RULES.values() for scope in rule.scopes}
