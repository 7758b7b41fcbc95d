"""The life of the webhook's process."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from pushserve_webhook import events, hmac_signature, settings
from pushserve_webhook.replies import without_userinfo
from tests.fixtures.shares import share
from tests.webhook.conftest import SECRET, Webhook, payload


def test_the_vector_of_github():
    """GitHub's own documentation gives it."""
    header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert hmac_signature.is_signed([SECRET], b"Hello, World!", header)
    assert not hmac_signature.is_signed([SECRET], b"Hello, World", header)
    assert not hmac_signature.is_signed(["another"], b"Hello, World!", header)
    assert not hmac_signature.is_signed([SECRET], b"Hello, World!", header + "\u2603")
    assert hmac_signature.is_signed(["another", SECRET], b"Hello, World!", header)


def test_no_server(fake_server):
    """The webhook lives, and says that it cannot do its work."""
    address = fake_server.address
    fake_server.stop()
    webhook = Webhook(address)
    try:
        answer = webhook.deliver(payload("minimal"))
        assert (503, "5") == (answer.status, answer.headers["Retry-After"])
        assert address not in answer.body.decode()
        assert 200 == webhook.request("GET", "/healthz").status
        assert 503 == webhook.request("GET", "/readyz").status

        fake_server.start()
        assert 202 == webhook.deliver(payload("minimal")).status
    finally:
        webhook.stop()


def test_stopping_answers_what_is_in_flight(fake_server):
    """SIGTERM while the server takes its time."""
    webhook = Webhook(fake_server.address)
    answers = []
    fake_server.service.hang.clear()
    sender = threading.Thread(target=lambda: answers.append(webhook.deliver(payload("minimal"))))
    sender.start()
    while not fake_server.service.requests:
        assert sender.is_alive()
    release = threading.Timer(0.3, fake_server.service.hang.set)
    release.start()

    code = webhook.stop()

    sender.join(timeout=10)
    release.join()
    assert (0, [202]) == (code, [answer.status for answer in answers])


def test_unsigned_events_where_the_operator_wants_them(fake_server):
    """The flag's name says what it does."""
    webhook = Webhook(
        fake_server.address,
        PUSHSERVE_WEBHOOK_SECRET="",
        PUSHSERVE_INSECURE_WEBHOOK_WITHOUT_SECRET="true",
    )
    try:
        assert 202 == webhook.deliver(payload("minimal"), X_Hub_Signature_256=None).status
    finally:
        webhook.stop()


WRONG = (
    ({}, "webhook_secret: set PUSHSERVE_WEBHOOK_SECRET"),
    (
        {"PUSHSERVE_WEBHOOK_SECRET": "s", "PUSHSERVE_WEBHOOK_LISTEN": "0.0.0.0:0"},
        "webhook_listen: 0.0.0.0 can be reached",
    ),
    (
        {"PUSHSERVE_WEBHOOK_SECRET": "s", "PUSHSERVE_WEBHOOK_LISTEN": "8080"},
        'an address is "host:port"',
    ),
    (
        {"PUSHSERVE_WEBHOOK_SECRTE": "s"},
        "SECRTE: no such setting in the environment. Did you mean 'PUSHSERVE_WEBHOOK_SECRET'?",
    ),
    # A Service pushserve-webhook; what is missing is the secret.
    (
        {
            "PUSHSERVE_WEBHOOK_SERVICE_HOST": "10.96.12.7",
            "PUSHSERVE_WEBHOOK_SERVICE_PORT_HTTP": "8080",
            "PUSHSERVE_WEBHOOK_PORT": "tcp://10.96.12.7:8080",
            "PUSHSERVE_WEBHOOK_PORT_8080_TCP_ADDR": "10.96.12.7",
        },
        "webhook_secret: set PUSHSERVE_WEBHOOK_SECRET",
    ),
    ({"PUSHSERVE_WEBHOOK_PORT": "8080"}, "WEBHOOK_PORT: no such setting"),
    ({"PUSHSERVE_CONFIG": "/no/such/file"}, "/no/such/file, which is not a file"),
)


@pytest.mark.parametrize("wrong", share(WRONG))
def test_a_wrong_configuration_is_named(wrong):
    """At start, in one line, without a traceback."""
    environment, text = wrong
    assert text in failed_start(environment)


def test_a_taken_port_is_named():
    """With what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = failed_start({"PUSHSERVE_WEBHOOK_SECRET": "s", "PUSHSERVE_WEBHOOK_LISTEN": address})

    assert f"cannot listen on {address}" in text


def failed_start(environment: dict[str, str]) -> str:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PUSHSERVE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pushserve_webhook.main"],
        env=plain | environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def test_settings_are_the_servers(tmp_path, monkeypatch):
    """One file serves both; names and defaults agree."""
    from pydantic import SecretStr

    from pushserve_server.config import load_settings

    file = tmp_path / "pushserve.toml"
    file.write_text('listen = "127.0.0.1:1"\nwebhook_secret = "s"\nwebhook_server = "h:2"\n')
    monkeypatch.setenv("PUSHSERVE_CONFIG", str(file))

    read = settings.load_settings()

    assert ("h:2", "s") == (read.webhook_server, read.webhook_secret.get_secret_value())
    monkeypatch.delenv("PUSHSERVE_CONFIG")
    of_the_server = load_settings()
    for name, field in settings.WebhookSettings.model_fields.items():
        default = field.default
        plain = default.get_secret_value() if isinstance(default, SecretStr) else default
        assert getattr(of_the_server, name) == plain


def test_credentials_in_a_url_are_not_shown():
    """Some people put a token into the clone URL."""
    assert "https://github.com/a/b.git" == without_userinfo("https://u:t@github.com/a/b.git")


def test_a_push_is_read_from_little():
    """Only the ref and the clone URL count."""
    expected = events.Push("https://github.com/acme/iris.git", "refs/heads/main")

    assert expected == events.read_event("push", "application/json", payload("minimal"))
    assert expected == events.read_event("push", "application/json", payload("branch_forced"))
