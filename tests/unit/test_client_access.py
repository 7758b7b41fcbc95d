"""What the client and the command make of tokens, certificates and profiles."""

import os
import pickle

import pytest

from pushserve_client import AsyncClient, Client
from pushserve_client.access import tls_credentials, token_metadata
from pushserve_client.cli.connection import Defaults
from pushserve_client.cli.profile import Profile, read_profile
from pushserve_client.errors import BadArgument
from tests.fixtures.certificates import Authority

TOKEN = "psv_0123456789ab_" + "f" * 64


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "tls")


LOCAL = ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/x.sock", "unix:x", "ipv4:127.0.0.1:1")
ELSEWHERE = ("10.0.0.1:1", "models.example.com:443", "[2001:db8::1]:1", "dns:///h:1", "0.0.0.0:1",
             "localhost.example.com:1", "127.0.0.1.example.com:1")  # fmt: skip


@pytest.mark.parametrize("target", LOCAL)
def test_a_token_goes_to_this_machine_without_tls(target):
    assert (("authorization", f"Bearer {TOKEN}"),) == token_metadata(
        target, f"{TOKEN}\n", encrypted=False
    )


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_does_not_go_to_others_without_tls(target, kind):
    with pytest.raises(BadArgument, match="sent over TLS alone") as caught:
        kind(target, token=TOKEN)
    assert TOKEN not in str(caught.value)
    assert token_metadata(target, TOKEN, encrypted=True)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ü", "x" * 5000, 7])
def test_what_is_no_token_is_not_shown(token):
    with pytest.raises(BadArgument) as caught:
        token_metadata("localhost:1", token, encrypted=False)
    assert "token: expected the text that `pushserve token create` has shown" == str(caught.value)


def test_without_tls_there_are_no_credentials():
    assert tls_credentials() is None


def test_files_that_are_no_good_are_named(authority, tmp_path):
    chain, key = authority.write()
    other_chain, _ = Authority(tmp_path / "other").write()
    bad = tmp_path / "bad.pem"
    bad.write_bytes(b"\xffnonsense")
    for given, said in (
        ({"ca": tmp_path / "none"}, f"ca: {tmp_path}/none cannot be read: No such file"),
        ({"ca": bad}, f"ca: {bad} holds no certificate in PEM form"),
        ({"certificate": chain}, "certificate, key: a certificate goes with its key; give both"),
        ({"key": key}, "certificate, key: a certificate goes with its key; give both"),
        ({"certificate": other_chain, "key": key}, f"{other_chain} and {key} are no certificate"),
        ({"certificate": bad, "key": bad}, f"{bad} and {bad} are no certificate"),
        ({"ca": 7}, "ca: 7 cannot be read: it is no path"),
    ):
        with pytest.raises(BadArgument) as caught:
            tls_credentials(**given)
        assert said in str(caught.value)


def test_a_client_with_a_token_and_files_can_be_pickled(authority):
    chain, key = authority.write()
    with (
        Client("h:1", token=TOKEN, ca=str(authority.file), certificate=chain, key=key) as client,
        pickle.loads(pickle.dumps(client)) as copy,
    ):
        assert client._metadata == copy._metadata
        assert TOKEN not in repr(client) + str(vars(client).get("_target"))


# Profiles


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "profile"

    def write(text: str, mode: int = 0o600):
        path.touch()
        path.chmod(mode)
        path.write_text(text)
        return path

    return write


def test_a_profile_is_read(profile, tmp_path):
    path = profile(
        f"[pushserve]\nserver = h:1\ntls = TRUE\nca = acme.pem\nkey = /k\ntoken = {TOKEN}\n"
    )
    found = read_profile(path)
    assert ("h:1", True, TOKEN) == (found.server, found.tls, found.token)
    assert (tmp_path / "acme.pem", None) == (found.ca, found.certificate)
    assert "/k" == str(found.key)
    assert TOKEN not in repr(found)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o777])
def test_a_profile_that_others_can_open_is_refused(profile, mode):
    path = profile("[pushserve]\nserver = h:1\n", mode)
    with pytest.raises(BadArgument) as caught:
        read_profile(path)
    assert f"profile: {path} is open to others than its owner; chmod 600 {path}" == str(
        caught.value
    )


@pytest.mark.parametrize(
    "text",
    [
        f"token = {TOKEN}",
        f"[pushserve\ntoken = {TOKEN}",
        f"[pushserve]\n{TOKEN}",
        f"[pushserve]\ntoken {TOKEN}\n",
        f"[pushserve]\ntoken = {TOKEN}\ntoken = {TOKEN}",
        f"[pushserve]\ntls = {TOKEN}",
        f"[pushserve]\nTokn = {TOKEN}",
    ],
)
def test_a_profile_of_another_form_is_refused_without_its_content(profile, text):
    with pytest.raises(BadArgument) as caught:
        read_profile(profile(text))
    assert TOKEN not in str(caught.value)


def test_a_profile_that_is_named_has_to_be_there(tmp_path, monkeypatch):
    with pytest.raises(BadArgument, match="cannot be read"):
        read_profile(tmp_path / "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert Profile() == read_profile(None)


def test_the_default_profile_is_found(profile, tmp_path, monkeypatch):
    (tmp_path / "pushserve").mkdir()
    os.replace(profile("[pushserve]\nserver = h:1\n"), tmp_path / "pushserve" / "profile")  # noqa: PTH105
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert "h:1" == read_profile(None).server


def test_a_profile_s_token_goes_to_no_other_server(profile, monkeypatch):
    monkeypatch.delenv("PUSHSERVE_TOKEN", raising=False)
    path = profile(f"[pushserve]\nserver = h:1\ntoken = {TOKEN}\ncertificate = c\nkey = k\n")
    defaults = Defaults(profile_file=path)
    assert TOKEN == defaults.access("h:1")["token"]
    other = defaults.access("evil.example.com:1")
    assert (None, None, None) == (other["token"], other["certificate"], other["key"])
    monkeypatch.setenv("PUSHSERVE_TOKEN", "mine")
    assert "mine" == defaults.access("h:1")["token"]
