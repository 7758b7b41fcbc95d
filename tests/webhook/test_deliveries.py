"""Events as GitHub sends them, to a real webhook process."""

import hmac
import json
from urllib.parse import urlencode

import grpc
import pytest

from tests.fixtures.served import until
from tests.webhook.conftest import SECRET, Webhook, payload

CLONE_URL = "https://github.com/acme/iris.git"


def registered(service):
    return [(request.source, request.ref) for request in service.requests]


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("branch_made", "refs/heads/try-forest"),
        ("branch_moved", "refs/heads/main"),
        ("branch_forced", "refs/heads/main"),
        ("branch_deleted", "refs/heads/try-forest"),
        ("tag_made", "refs/tags/v1.0"),
        ("tag_deleted", "refs/tags/v1.0"),
        ("minimal", "refs/heads/main"),
    ],
)
def test_a_push_is_registered(webhook, service, name, ref):
    """Whatever happened to the ref, the server is told to look at it."""
    answer = webhook.deliver(payload(name))

    assert 202 == answer.status
    assert [(CLONE_URL, ref)] == registered(service)
    assert {"ref": ref, "source": CLONE_URL, "model": None, "state": "QUEUED"}.items() <= (
        answer.json.items()
    )
    assert answer.json["deployment"] in service.deployments


def test_a_form_is_read(webhook, service):
    """GitHub's other content type; the signature is over the form's bytes."""
    body = urlencode({"payload": payload("branch_moved").decode()}).encode()

    answer = webhook.deliver(body, Content_Type="application/x-www-form-urlencoded")

    assert 202 == answer.status
    assert [(CLONE_URL, "refs/heads/main")] == registered(service)


def test_a_push_without_event_header(webhook, service):
    """A script that knows nothing of GitHub's headers can send it."""
    assert 202 == webhook.deliver(payload("minimal"), event=None).status
    assert [(CLONE_URL, "refs/heads/main")] == registered(service)


@pytest.mark.parametrize("name", ["issue_opened", "branch_created_event"])
def test_no_event_header_and_no_push(webhook, service, name):
    """Nothing is guessed beyond that."""
    answer = webhook.deliver(payload(name), event=None)

    assert (202, "no X-GitHub-Event header, and the body is not a push") == (
        answer.status,
        answer.json["ignored"],
    )
    assert [] == service.requests


def test_ping(webhook, service):
    """GitHub sends it when a webhook is made."""
    answer = webhook.deliver(payload("ping"), event="ping")

    assert (200, {"status": "pong"}) == (answer.status, answer.json)
    assert [] == service.requests


@pytest.mark.parametrize(
    ("name", "event"), [("issue_opened", "issues"), ("branch_created_event", "create")]
)
def test_other_events_are_ignored(webhook, service, name, event):
    """With a reason."""
    answer = webhook.deliver(payload(name), event=event)

    assert 202 == answer.status
    assert event in answer.json["ignored"]
    assert [] == service.requests


@pytest.mark.parametrize("ref", ["refs/notes/commits", "refs/pull/7/head", "main"])
def test_a_ref_that_is_no_branch_or_tag_is_ignored(webhook, service, ref):
    """The reason names it."""
    body = json.dumps(json.loads(payload("minimal")) | {"ref": ref}).encode()

    answer = webhook.deliver(body)

    assert 202 == answer.status
    assert answer.json["ignored"].startswith(ref)
    assert [] == service.requests


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "SIGNATURE_MISSING"),
        ("", "SIGNATURE_MISMATCH"),
        ("sha256=" + "0" * 64, "SIGNATURE_MISMATCH"),
        ("sha256=\xe9" + "0" * 63, "SIGNATURE_MISMATCH"),
        ("sha1=abc", "SIGNATURE_MISMATCH"),
    ],
)
def test_a_wrong_signature_is_refused(webhook, service, signature, reason):
    """Before anything of the body is read."""
    answer = webhook.deliver(b"{", X_Hub_Signature_256=signature)

    assert (401, reason) == (answer.status, answer.json["error"]["reason"])
    assert [] == service.requests


def test_a_changed_body_is_refused(webhook, service):
    """One byte more, and the signature does not hold."""
    import hashlib
    import hmac

    from tests.webhook.conftest import SECRET

    body = payload("minimal")
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()

    assert 401 == webhook.deliver(body + b" ", X_Hub_Signature_256=signature).status
    assert [] == service.requests


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "`ref`"),
        (b'{"ref": 5, "repository": {}}', "`ref`"),
        (b'{"ref": "refs/heads/main"}', "`repository`"),
        (b'{"ref": "refs/heads/main", "repository": []}', "`repository`"),
        (b'{"ref": "refs/heads/main", "repository": {}}', "`repository.clone_url`"),
        (b'{"ref": "refs/heads/a\\nb", "repository": {"clone_url": "x"}}', "control characters"),
        (b'{"ref": "refs/heads/' + b"a" * 3000 + b'"}', "longer than 2048"),
        (b'{"ref": "\\ud800"}', "control characters"),
    ],
)
def test_a_body_that_is_no_push(webhook, service, body, message):
    """The answer says what a push needs."""
    answer = webhook.deliver(body)

    assert (400, "BAD_PAYLOAD") == (answer.status, answer.json["error"]["reason"])
    assert message in answer.json["error"]["message"]
    assert [] == service.requests


@pytest.mark.parametrize("body", [b"payload=%7B", b"other=1", b"payload={}&payload={}", b"&&&"])
def test_a_form_that_is_no_event(webhook, body):
    """The same for forms."""
    answer = webhook.deliver(body, Content_Type="application/x-www-form-urlencoded")

    assert (400, "BAD_PAYLOAD") == (answer.status, answer.json["error"]["reason"])


def test_a_body_over_the_limit(webhook, service):
    """GitHub sends no more than 25 MiB."""
    answer = webhook.deliver(b" " * (25 * 1024**2 + 1))

    assert (413, "REQUEST_ENTITY_TOO_LARGE") == (answer.status, answer.json["error"]["reason"])
    assert [] == service.requests


def test_secrets_are_replaced_without_a_restart(shared_server, tmp_path):
    """Each line of the file is one, whatever ends it; the old one counts until it is taken out."""
    file = tmp_path / "secrets"
    file.write_bytes(SECRET.encode() + b"\r\n")
    webhook = Webhook(
        shared_server.address, PUSHSERVE_WEBHOOK_SECRET="", PUSHSERVE_WEBHOOK_SECRET_FILE=str(file)
    )

    def signed_by(secret):
        body = payload("minimal")
        digest = hmac.new(secret.encode(), body, "sha256").hexdigest()
        return webhook.deliver(body, X_Hub_Signature_256=f"sha256={digest}").status

    try:
        assert (202, 401, 401) == tuple(map(signed_by, (SECRET, "newer", "")))
        file.write_text(f"newer\n\n{SECRET}\n")
        assert (202, 202, 401) == tuple(map(signed_by, (SECRET, "newer", "")))
        file.write_text("newer")
        assert (401, 202) == tuple(map(signed_by, (SECRET, "newer")))
        file.write_text("\n")
        assert (401, 202, 401) == tuple(map(signed_by, (SECRET, "newer", "")))
        file.unlink()
        assert 202 == signed_by("newer")
    finally:
        webhook.stop()
    log = "".join(webhook.log)
    assert "holds no secret; the secrets of before stay in use" in log
    assert "newer" not in log


def test_a_newline_after_the_secret_is_no_part_of_it(shared_server):
    webhook = Webhook(shared_server.address, PUSHSERVE_WEBHOOK_SECRET=f"{SECRET}\n")
    try:
        assert 202 == webhook.deliver(payload("minimal")).status
    finally:
        webhook.stop()


def test_a_ref_that_the_operator_leaves_out_is_no_failed_delivery(webhook):
    repository = {"clone_url": "https://github.com/acme/iris.git"}
    event = {"ref": "refs/heads/dependabot/pip/x-1", "repository": repository}

    answer = webhook.deliver(json.dumps(event).encode())

    assert (202, f"{event['ref']} is not deployed") == (answer.status, answer.json["ignored"])


def test_a_source_that_is_not_listed(webhook):
    """The server's words reach GitHub's page of deliveries."""
    body = json.dumps(
        {"ref": "refs/heads/main", "repository": {"clone_url": "https://example.org/x.git"}}
    ).encode()

    answer = webhook.deliver(body)

    assert (403, "SOURCE_NOT_ALLOWED") == (answer.status, answer.json["error"]["reason"])
    assert "https://example.org/x.git is not listed" == answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 422),
        (grpc.StatusCode.NOT_FOUND, 422),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.FAILED_PRECONDITION, 409),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 503),
        (grpc.StatusCode.INTERNAL, 502),
        (grpc.StatusCode.UNKNOWN, 502),
    ],
)
def test_an_error_of_the_server(webhook, service, code, status):
    """Each has its HTTP status."""
    service.faults.append(code)

    answer = webhook.deliver(payload("minimal"))

    assert (status, code.name) == (answer.status, answer.json["error"]["reason"])


def test_a_server_that_stays_unavailable(webhook, service):
    """GitHub is told when to come again."""
    service.faults.extend([grpc.StatusCode.UNAVAILABLE] * 4)

    answer = webhook.deliver(payload("minimal"))

    assert (503, "2") == (answer.status, answer.headers["Retry-After"])


def test_a_server_that_comes_back_is_not_noticed(webhook, service):
    """A restart of the server within a moment loses no event."""
    service.faults.append(grpc.StatusCode.UNAVAILABLE)

    assert 202 == webhook.deliver(payload("minimal")).status


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/webhook/github", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/healthz", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/", 404, "NOT_FOUND"),
        ("GET", "/webhook/github/", 404, "NOT_FOUND"),
    ],
)
def test_what_is_not_there(webhook, method, path, status, reason):
    """Errors are JSON, whatever they are."""
    answer = webhook.request(method, path)

    assert (status, reason) == (answer.status, answer.json["error"]["reason"])
    assert "application/json" == answer.headers["Content-Type"]


def test_health(webhook):
    """Alive, and the server behind it serves."""
    assert 200 == webhook.request("GET", "/healthz").status
    assert 200 == webhook.request("GET", "/readyz").status


def test_the_log_says_what_happened_and_no_more(webhook, service):
    """The delivery's id is there; payload, secret and forged lines are not."""
    body = json.dumps(
        {
            "ref": "refs/heads/main",
            "repository": {"clone_url": "https://github.com/acme/iris.git"},
            "head_commit": {"message": "a message that nobody needs"},
        }
    ).encode()
    webhook.deliver(body, X_GitHub_Delivery="11111111-2222-3333-4444-555555555555")
    webhook.deliver(body, X_GitHub_Delivery="forged delivery=x status=200")
    webhook.request("GET", "/healthz")

    until(lambda: any("delivery=- event=push status=202" in line for line in [*webhook.log]))
    log = "".join(webhook.log)
    assert "delivery=11111111-2222-3333-4444-555555555555 event=push status=202" in log
    assert "forged" not in log
    assert "nobody needs" not in log
    assert "Everybody" not in log
