"""`pushserve token`, as an operator runs it, on a registry of its own."""

import json
import re
import subprocess
from datetime import timedelta

import pytest

from pushserve_server.domain.access_token import digest_of, is_token
from pushserve_server.registry import Registry
from tests.e2e.test_access import run


@pytest.fixture
def token(tmp_path):
    """Run the command on one data folder."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return run("token", *words, PUSHSERVE_DATA_DIR=tmp_path / "data")

    return call


def test_a_token_is_made_listed_and_revoked(token, tmp_path):
    done = token("create", "churn service", "--scope", "predict", "--scope", "read",
                 "--model", "churn", "--model", "team-*")  # fmt: skip
    assert 0 == done.returncode, done.stderr
    text = done.stdout.removesuffix("\n")
    assert is_token(text)  # and nothing else: for PUSHSERVE_TOKEN=$(…)
    assert text not in done.stderr
    assert "predict, read for churn, team-*, until" in done.stderr

    listed = token("list")
    assert text.rpartition("_")[2] not in listed.stdout + listed.stderr
    token_id = text[4:16]
    (row,) = listed.stdout.splitlines()[1:]
    cells = row.split("\t")
    assert [token_id, "churn service", "predict, read", "churn, team-*", "good"] == cells[:5]
    assert "never" == cells[6]

    registry = Registry.open(f"sqlite:///{tmp_path / 'data' / 'registry.sqlite3'}")
    (kept,) = registry.issued_tokens()
    registry.close()
    assert digest_of(text) == kept.digest
    lasts = kept.expires_at - kept.created_at  # which is read a moment after the end was reckoned
    assert 90 * 24 * 60 == round(lasts / timedelta(minutes=1))

    assert 0 == token("revoke", token_id).returncode
    (shown,) = json.loads(token("list", "--json").stdout)
    assert ("revoked", token_id) == (shown["state"], shown["id"])
    assert "digest" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x",), "give --scope at least once: predict, read, deploy, admin"),
        (("x", "--scope", "root"), "--scope: 'root' is none of predict, read, deploy, admin"),
        (("x", "--scope", "read", "--expires", "90"), "--expires: '90' is none of"),
        (("x", "--scope", "read", "--expires", "-1d"), "--expires: '-1d' is none of"),
        (("x", "--scope", "read", "--model", "[ab]"), "--model: '[ab]' is no name of a model"),
        (("", "--scope", "read"), "a token's name has 1 to 100 characters"),
        (("a\nb", "--scope", "read"), "a token's name has 1 to 100 characters"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(token, words, said):
    done = token("create", *words)
    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert "[]" == token("list", "--json").stdout.strip()


def test_one_that_never_expires(token):
    done = token("create", "x", "--scope", "admin", "--expires", "never")
    assert "admin for all models, for good" in done.stderr
    (shown,) = json.loads(token("list", "--json").stdout)
    assert shown["expires_at"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", shown["created_at"])


def test_an_id_that_there_is_not(token):
    done = token("revoke", "nothing")
    assert 1 == done.returncode
    assert "there is no token with the id 'nothing'" in done.stderr


def test_a_registry_that_cannot_be_had(tmp_path):
    done = run("token", "list", DATABASE_URL=f"postgresql://ada:secret@/x?host={tmp_path}")
    assert 1 == done.returncode
    assert "the registry cannot be used" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
