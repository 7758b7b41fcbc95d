"""Events of GitHub: what one asks for. Pure: bytes and header values in, a decision out.

A push event needs only `ref` and `repository.clone_url`; whether the ref was made, moved,
forced or deleted does not matter, because the server asks Git where it points.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

_MAX_TEXT: Final = 2048
"""Longest ref or URL that is passed on, in characters."""
_MAX_VALUES: Final = 1_000_000
"""Most brackets and commas in a body: parsed, each may take 60 bytes. Pushes have thousands."""


class BadPayload(Exception):
    """The body is not what GitHub sends; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Push:
    """A branch or tag that somebody pushed to; `ref` is its full name."""

    source: str
    ref: str


@dataclass(frozen=True, slots=True)
class Pong:
    """GitHub asks whether anybody is here."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to do, and why."""

    reason: str


def read_event(event: str, content_type: str, body: bytes) -> Push | Pong | Ignored:
    """Decide what to do about a body whose signature holds.

    `event` is `X-GitHub-Event`. Without that header, as old platforms and shell scripts
    send, a body that has the shape of a push is taken for one.

    Raises:
        BadPayload: the body cannot be read, or lacks what a push needs.
    """
    if event == "ping":
        return Pong()
    if event not in ("push", ""):
        return Ignored(f"event {event[:60]!r} says nothing about where a ref points; push does")
    payload = _read_payload(content_type, body)
    if not event and ("ref" not in payload or "repository" not in payload or "ref_type" in payload):
        return Ignored("no X-GitHub-Event header, and the body is not a push")
    return _read_push(payload)


def _read_payload(content_type: str, body: bytes) -> dict[str, Any]:
    try:
        if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
            text = _read_form(body)
        else:
            text = body.decode(json.detect_encoding(body))
        if sum(map(text.count, "[{,")) > _MAX_VALUES:
            raise BadPayload("the body holds more values than any push")
        payload = json.loads(text)
    except (ValueError, RecursionError):
        # RecursionError: JSON nested deeper than Python goes.
        raise BadPayload("the body is not JSON (nor a form with a JSON field `payload`)") from None
    if not isinstance(payload, dict):
        raise BadPayload("the body is not a JSON object")
    return payload


def _read_form(body: bytes) -> str:
    # As text: from bytes, parse_qs gives ASCII only.
    fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)
    values = fields.get("payload", [])
    if len(values) != 1:
        raise BadPayload("the form needs one field `payload`")
    return values[0]


def _read_push(payload: dict[str, Any]) -> Push | Ignored:
    ref = _text(payload.get("ref"), "ref")
    repository = payload.get("repository")
    if not isinstance(repository, dict):
        raise BadPayload("a push needs `repository` with its `clone_url`")
    source = _text(repository.get("clone_url"), "repository.clone_url")
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        return Ignored(f"{ref} is neither a branch nor a tag (refs/heads/…, refs/tags/…)")
    return Push(source, ref)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadPayload(f"a push needs `{name}`, a text")
    if len(value) > _MAX_TEXT:
        raise BadPayload(f"`{name}` is longer than {_MAX_TEXT} characters")
    if not value.isprintable():
        raise BadPayload(f"`{name}` contains control characters")
    return value
