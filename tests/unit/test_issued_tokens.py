"""Tokens in the registry of each kind, and those of the token file."""

import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pushserve_server.access.admission_tokens import AdmissionTokens
from pushserve_server.access.guard import Guard
from pushserve_server.access.token_file import TokenFile
from pushserve_server.config import load_settings
from pushserve_server.domain.access_token import ID_PART, Scope, digest_of, is_token, new_token
from pushserve_server.errors import NotFound, Unauthenticated
from pushserve_server.settings import ConfigError, Settings
from tests.fixtures.registry import NOON, at
from tests.fixtures.tokens import bearer, make

PREDICT = "/pushserve.v1.ModelService/Predict"


def test_what_was_issued_is_read_back(registry):
    _, one = make("predict", "read", models=("iris", "team-*"), expires_at=at(60.000001))
    _, two = make("admin")
    assert [replace(one, created_at=NOON)] == [registry.issue_token(one)]
    registry.issue_token(two)
    found = {token.id: token for token in registry.issued_tokens()}
    wanted = {token.id: replace(token, created_at=NOON) for token in (one, two)}
    assert wanted == found


def test_the_token_itself_is_nowhere_in_the_registry(registry):
    text, kept = make("admin")
    registry.issue_token(kept)
    store = registry._store
    with store.reading() as tables:
        (row,) = tables.tokens.select().dicts()
    assert text not in str(row)
    assert text.rpartition("_")[2] not in str(row)
    assert digest_of(text).hex() == row["digest"]


def test_issuing_and_revoking_are_heard_and_uses_are_not(registry):
    heard = []
    registry.when_changed(lambda: heard.append(registry.generation()))
    _, kept = make("admin")
    registry.issue_token(kept)
    registry.revoke_token(kept.id)
    assert [1, 2] == [generation - heard[0] + 1 for generation in heard]
    registry.revoke_token(kept.id)
    registry.note_token_uses({kept.id: at(1)})
    assert 2 == len(heard)


def test_a_revoked_token_stays_revoked_since_then(registry, clock):
    _, kept = make("admin")
    registry.issue_token(kept)
    clock.set(5)
    assert at(5) == registry.revoke_token(kept.id).revoked_at
    clock.set(9)
    assert at(5) == registry.revoke_token(kept.id).revoked_at
    assert [at(5)] == [token.revoked_at for token in registry.issued_tokens()]


def test_revoking_what_there_is_not(registry):
    with pytest.raises(NotFound, match="there is no token with the id 'x'"):
        registry.revoke_token("x")


def test_last_use_never_goes_back(registry):
    """Several frontends tell of it, each when it comes to it."""
    _, kept = make("admin")
    registry.issue_token(kept)
    registry.note_token_uses({kept.id: at(9), "gone": at(9)})
    registry.note_token_uses({kept.id: at(3)})
    assert [at(9)] == [token.last_used_at for token in registry.issued_tokens()]
    registry.note_token_uses({kept.id: at(10)})
    assert [at(10)] == [token.last_used_at for token in registry.issued_tokens()]


# The token file


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        TokenFile(path).read()
    return str(caught.value)


def test_a_file_is_made_for_its_owner_alone_and_only_once(tmp_path):
    path = tmp_path / "admin.token"
    assert TokenFile(path).make()
    text = path.read_text()
    assert is_token(text.removesuffix("\n"))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert not TokenFile(path).make()
    assert text == path.read_text()


def test_its_tokens_may_do_everything(tmp_path):
    path = tmp_path / "admin.token"
    one, two = new_token(), new_token()
    path.write_text(f"# the first\n{one}\n\n  {two}\r\n")
    path.chmod(0o640)
    found = TokenFile(path).read()
    assert [one[ID_PART], two[ID_PART]] == [token.id for token in found]
    assert {frozenset({Scope.ADMIN})} == {token.scopes for token in found}


def test_a_file_that_every_user_may_read_is_refused(tmp_path):
    path = tmp_path / "admin.token"
    TokenFile(path).make()
    path.chmod(0o644)
    assert f"token_file: {path} is open to every user of this machine" in refused(path)


def test_what_is_wrong_with_a_file_is_said_without_its_content(tmp_path):
    path = tmp_path / "admin.token"
    text = new_token()
    path.write_text(f"{new_token()}\n{text[:-1]}\n")
    path.chmod(0o600)
    said = refused(path)
    assert f"token_file: line 2 of {path} is no token" in said
    assert text[17:40] not in said
    assert "cannot be read: No such file" in refused(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be made"):
        TokenFile(tmp_path / "no" / "folder").make()


def test_a_token_counts_for_as_long_as_it_stands_in_the_file(tmp_path, caplog):
    path = tmp_path / "admin.token"
    TokenFile(path).make()
    text = path.read_text().strip()
    guard = Guard(required=True)
    tokens = AdmissionTokens(Settings(token_file=str(path)), guard)

    def is_in(one: str) -> bool:
        tokens.look_at_file()
        try:
            return bool(guard.admit(PREDICT, bearer(one)))
        except Unauthenticated:
            return False

    assert is_in(text)
    issued_text, issued = make("predict")
    tokens.follow([issued])
    assert is_in(text)
    assert is_in(issued_text)
    other = new_token()
    new = tmp_path / "new"
    new.touch(0o600)
    new.write_text(other)
    new.replace(path)
    assert not is_in(text)
    assert is_in(other)
    os.chmod(path, 0o604)  # noqa: PTH101
    assert not is_in(other)
    assert "none of its tokens counts" in caplog.text
    path.chmod(0o600)
    assert is_in(other)
    path.unlink()
    assert not is_in(other)
    assert is_in(issued_text)


def test_a_token_file_needs_tokens():
    with pytest.raises(ConfigError, match="token_file: without require_tokens"):
        load_settings({"token_file": "x"})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "TLS (tls_certificate, tls_key) and tokens (require_tokens) are not set up"),
        ({"require_tokens": True}, "TLS (tls_certificate, tls_key) is not set up"),
        (
            {"tls_certificate": "a", "tls_key": "b"},
            "tokens (require_tokens) is not set up",
        ),
    ],
)
def test_off_loopback_needs_tls_and_tokens(given, missing):
    with pytest.raises(ConfigError) as caught:
        load_settings({"listen": "0.0.0.0:1", **given})
    assert missing in str(caught.value)
    assert "insecure_listen_off_loopback" in str(caught.value)


def test_with_tls_and_tokens_a_server_may_listen_everywhere():
    given = {"tls_certificate": "a", "tls_key": "b", "require_tokens": True}
    assert "0.0.0.0:1" == load_settings({"listen": "0.0.0.0:1", **given}).listen
    with pytest.raises(ConfigError, match="webhook_listen"):
        load_settings({"webhook_listen": "0.0.0.0:1", **given})


def test_an_expired_token_stays_in_the_list(registry):
    _, kept = make("admin", expires_at=NOON - timedelta(days=1))
    registry.issue_token(kept)
    assert [kept.id] == [token.id for token in registry.issued_tokens()]
