"""Access tokens: what a caller shows to be let in, and what the registry holds of it.

A token is `psv_<id>_<secret>`. Its secret has 256 random bits, so nobody finds it by trying, and a
plain SHA-256 of the whole is all that is kept: there is nothing that a slow hash would add.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

PREFIX: Final = "psv_"
_ID_DIGITS: Final = 12
_SECRET_DIGITS: Final = 64
LENGTH: Final = len(PREFIX) + _ID_DIGITS + 1 + _SECRET_DIGITS
ID_PART: Final = slice(len(PREFIX), len(PREFIX) + _ID_DIGITS)

_FORM: Final = re.compile(rf"{PREFIX}[0-9a-f]{{{_ID_DIGITS}}}_[0-9a-f]{{{_SECRET_DIGITS}}}")

ALL_MODELS: Final = ("*",)


class Scope(enum.StrEnum):
    """What a token is good for. `access.method_rules` has what each method needs."""

    PREDICT = "predict"
    """Predict, PredictStream, and a model's signature."""
    READ = "read"
    """What there is: models, versions, deployments."""
    DEPLOY = "deploy"
    """Register, Pin, Unpin, and reading."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is kept. Times are aware UTC datetimes.

    `models` are names of models, in which `*` and `?` stand for others. `digest` is of the whole
    token.
    """

    id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    models: tuple[str, ...] = ALL_MODELS
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


def new_token() -> str:
    """Make a token. It is shown once, to whoever asked for it, and kept nowhere."""
    return f"{PREFIX}{secrets.token_hex(_ID_DIGITS // 2)}_{secrets.token_hex(_SECRET_DIGITS // 2)}"


def is_token(text: str) -> bool:
    """Say whether a text has the form of a token."""
    return _FORM.fullmatch(text) is not None


def digest_of(text: str) -> bytes:
    """Give what is kept of a token."""
    return sha256(text.encode("utf-8", "replace")).digest()


def allows_model(models: Iterable[str], name: str) -> bool:
    """Say whether a token for these models is good for this one."""
    return any(fnmatchcase(name, pattern) for pattern in models)
