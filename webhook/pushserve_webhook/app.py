"""Flask application: routes, and one line of log for each event."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from pushserve_client.errors import CallError
from pushserve_webhook import replies
from pushserve_webhook.events import BadPayload, Ignored, Pong, Push, read_event
from pushserve_webhook.hmac_signature import is_signed
from pushserve_webhook.registrar import Registrar
from pushserve_webhook.secrets_in_use import SecretsInUse
from pushserve_webhook.settings import WebhookSettings

MAX_BODY: Final = 25 * 1024**2
"""GitHub's largest event, in bytes."""

Reply = Response | tuple[Response, int]

logger = logging.getLogger(__name__)


def create_app(settings: WebhookSettings, registrar: Registrar) -> Flask:
    """Build the application. It holds nothing but `registrar`, which the caller closes.

    Raises:
        ConfigError: the file of secrets is no good.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    in_use = SecretsInUse(settings)

    def github() -> Reply:
        body = request.get_data()
        secrets = in_use.now()
        if secrets:
            refusal = _check_signature(secrets, body)
            if refusal is not None:
                return refusal
        return _answer(body, registrar)

    def readyz() -> Reply:
        return _ready(registrar)

    app.add_url_rule("/webhook/github", "github", github, methods=["POST"])
    app.add_url_rule("/healthz", "healthz", _alive)
    app.add_url_rule("/readyz", "readyz", readyz)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    app.after_request(_log)
    return app


def _alive() -> Reply:
    return jsonify(status="ok")


def _ready(registrar: Registrar) -> Reply:
    if registrar.is_ready():
        return jsonify(status="ok")
    return replies.refused(503, "SERVER_NOT_READY", "the model server does not serve just now")


def _check_signature(secrets: Sequence[str], body: bytes) -> Reply | None:
    header = request.headers.get("X-Hub-Signature-256")
    if header is None:
        message = "the header X-Hub-Signature-256 is missing; set the webhook's secret on GitHub"
        return replies.refused(401, "SIGNATURE_MISSING", message)
    if not is_signed(secrets, body, header):
        message = "the signature does not match; the secret on GitHub differs from the one here"
        return replies.refused(401, "SIGNATURE_MISMATCH", message)
    return None


def _answer(body: bytes, registrar: Registrar) -> Reply:
    event = request.headers.get("X-GitHub-Event", "")
    try:
        decision = read_event(event, request.headers.get("Content-Type", ""), body)
    except BadPayload as error:
        return replies.refused(400, "BAD_PAYLOAD", str(error))
    match decision:
        case Pong():
            return jsonify(status="pong")
        case Ignored(reason):
            return replies.ignored(reason)
        case Push(source, ref):
            return _register(registrar, source, ref)


_NOT_DEPLOYED: Final = ("REF_NOT_DEPLOYED", "PATH_NOT_DEPLOYED")
"""The operator's globs leave a ref out: as it is meant to be, so no error of a delivery."""


def _register(registrar: Registrar, source: str, ref: str) -> Reply:
    shown = replies.without_userinfo(source)
    try:
        deployment = registrar.register(source, ref)
    except CallError as error:
        logger.warning("%s source=%s ref=%s code=%s", _mark(), shown, ref, error.code.name)
        if replies.is_ours(error):
            logger.error(  # noqa: TRY400 (it is no fault of the program)
                "the server refuses the webhook's token (%s): %s", error.reason, error.message
            )
        if error.reason in _NOT_DEPLOYED:
            return replies.ignored(error.message)
        return replies.call_failed(error)
    logger.info("%s source=%s ref=%s deployment=%s", _mark(), shown, ref, deployment.name)
    return replies.accepted(deployment)


def _http_error(error: HTTPException) -> Reply:
    """Answer what Flask refuses by itself: paths, methods, sizes."""
    reason = re.sub(r"\W+", "_", error.name).upper()
    reply, status = replies.refused(error.code or 500, reason, error.description or error.name)
    for name, value in error.get_headers():
        if name != "Content-Type":
            reply.headers[name] = value
    return reply, status


def _fault(error: Exception) -> Reply:
    """The edge: nothing of an unexpected exception leaves but to the log."""
    logger.error("%s fault", _mark(), exc_info=error)
    return replies.refused(500, "INTERNAL", "internal error; the webhook's log says more")


def _log(response: Response) -> Response:
    """One line for each event, without anything that was in its body."""
    if request.path == "/webhook/github":
        event = re.sub(r"[^a-z_]", "?", request.headers.get("X-GitHub-Event", "-")[:40])
        logger.info("%s event=%s status=%d", _mark(), event, response.status_code)
    return response


def _mark() -> str:
    """Name GitHub's id of the event; anything else could write its own words into the log."""
    value = request.headers.get("X-GitHub-Delivery", "")
    return f"delivery={value if re.fullmatch(r'[A-Za-z0-9-]{1,64}', value) else '-'}"
