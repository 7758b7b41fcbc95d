"""Reasons of the webhook: each answer, and the delivery that is taken."""

import json

import pytest

from pushserve_webhook.app import create_app
from pushserve_webhook.registrar import Registrar
from pushserve_webhook.settings import WebhookSettings
from tests.fixtures.served import until
from tests.webhook.conftest import Webhook, payload

PUSH = payload("minimal")


@pytest.fixture
def hook(fake_server):
    webhook = Webhook(fake_server.address)
    yield webhook
    webhook.stop()


@pytest.mark.reason("BAD_PAYLOAD", "SIGNATURE_MISSING", "SIGNATURE_MISMATCH")
def test_what_the_text_asks_for_is_taken(hook: Webhook):
    for body, headers, status, reason, said in (
        (b"[]", {}, 400, "BAD_PAYLOAD", ""),
        (json.dumps({"ref": "refs/heads/main"}).encode(), {}, 400, "BAD_PAYLOAD", "repository"),
        (PUSH, {"X_Hub_Signature_256": None}, 401, "SIGNATURE_MISSING", "set the webhook's secret"),
        (PUSH, {"X_Hub_Signature_256": "sha256=00"}, 401, "SIGNATURE_MISMATCH", "the secret"),
    ):
        answer = hook.deliver(body, **headers)
        assert (status, reason) == (answer.status, answer.json["error"]["reason"])
        assert said in answer.json["error"]["message"]
    assert 202 == hook.deliver(PUSH).status


@pytest.mark.reason("SERVER_NOT_READY")
def test_a_server_that_is_started(fake_server):
    fake_server.stop()
    webhook = Webhook(fake_server.address)
    try:
        answer = webhook.request("GET", "/readyz")
        assert (503, "SERVER_NOT_READY") == (answer.status, answer.json["error"]["reason"])
        fake_server.start()
        until(lambda: 200 == webhook.request("GET", "/readyz").status)
    finally:
        webhook.stop()


@pytest.mark.reason("INTERNAL")
def test_a_fault_of_the_webhook_tells_nothing(monkeypatch, caplog):
    settings = WebhookSettings(webhook_secret="", insecure_webhook_without_secret=True)
    registrar = Registrar("127.0.0.1:1")
    monkeypatch.setattr(Registrar, "register", lambda *_: 1 / 0)
    answer = create_app(settings, registrar).test_client().post("/webhook/github", data=PUSH)
    registrar.close()
    assert (500, "INTERNAL") == (answer.status_code, answer.json["error"]["reason"])
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text
