"""Guard: says for each call whether its token lets it in, from memory alone.

It runs on the path of every call: no registry, no file, no lock, and as much work for a wrong
token as for a right one. Another thread exchanges the table of tokens as a whole.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Final

from pushserve_server.access.method_rules import METHOD_RULES, MethodRule, Opening
from pushserve_server.domain.access_token import (
    ALL_MODELS,
    ID_PART,
    LENGTH,
    AccessToken,
    Scope,
    allows_model,
    digest_of,
)
from pushserve_server.errors import NotAllowed, PushserveError, Unauthenticated

HEADER: Final = "authorization"
_BEARER: Final = "bearer "
_OF_BEARER: Final = slice(len(_BEARER))
_AFTER_BEARER: Final = slice(len(_BEARER), None)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `models` is None where all are allowed."""

    id: str
    name: str
    models: tuple[str, ...] | None = None

    def may_see(self, name: str) -> bool:
        """Say whether this model is one that they may ask about."""
        return self.models is None or allows_model(self.models, name)

    def check_model(self, name: str) -> None:
        """Insist that this model is one that they may ask about.

        Raises:
            NotAllowed: it is not.
        """
        if self.may_see(name):
            return
        if not name:
            said = "this token is for some models only; the call has to name one of them"
            raise NotAllowed(said, reason="MODEL_NOT_ALLOWED")
        raise NotAllowed(
            f"this token is not for the model {name[:200]!r}", reason="MODEL_NOT_ALLOWED"
        )


ANYBODY: Final = Principal("", "anybody")
"""Who calls where no token is asked for."""


class _Held:
    """A token in memory. `used_at` is in seconds since the epoch, 0 where nobody has used it."""

    __slots__ = (
        "digest", "expires_at", "methods", "principal", "revoked", "saved_at", "scopes", "used_at",
    )  # fmt: skip

    def __init__(self, token: AccessToken) -> None:
        models = None if token.models == ALL_MODELS else token.models
        self.principal = Principal(token.id, token.name, models)
        self.digest = token.digest
        self.scopes = token.scopes
        self.revoked = token.revoked_at is not None
        self.methods = frozenset() if self.revoked else _methods_of(token.scopes)
        self.expires_at = token.expires_at.timestamp() if token.expires_at else float("inf")
        self.used_at = self.saved_at = 0.0


@lru_cache
def _methods_of(scopes: frozenset[Scope]) -> frozenset[str]:
    """Give the methods that these scopes are good for."""
    return frozenset(
        name for name, rule in METHOD_RULES.items() if not scopes.isdisjoint(rule.scopes)
    )


_NOBODY: Final = _Held(AccessToken("", "", secrets.token_bytes(32), frozenset()))
"""Compared with where no token has the id: nobody knows what it is the digest of."""


class Guard:
    """Holds the tokens, and which methods need none. `now` is in seconds since the epoch."""

    def __init__(
        self,
        *,
        required: bool,
        opened: Iterable[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        openings = frozenset(map(Opening, opened))
        self._free = {
            name for name, rule in METHOD_RULES.items() if not required or rule.opening in openings
        }
        self._held: dict[str, _Held] = {}

    @staticmethod
    def rule(method: str) -> MethodRule:
        """Give what a method needs.

        Raises:
            KeyError: it stands in no row of the table.
        """
        return METHOD_RULES[method]

    def follow(self, tokens: Iterable[AccessToken]) -> None:
        """Let in by these tokens from now on, and by no others."""
        before, held = self._held, {}
        for token in tokens:
            one = held[token.id] = _Held(token)
            old = before.get(token.id)
            if old is not None:
                one.used_at, one.saved_at = old.used_at, old.saved_at
        self._held = held

    def admit(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Principal:
        """Say who calls a method.

        Raises:
            Unauthenticated: no token, or one that lets nobody in.
            NotAllowed: the token is not for this method.
        """
        if method in self._free:
            return ANYBODY
        text = _token_in(metadata)
        if text is None:
            raise Unauthenticated(
                'this server asks for a token: metadata "authorization: Bearer psv_…"',
                reason="TOKEN_MISSING",
            )
        held = self._held.get(text[ID_PART], _NOBODY)
        # A longer one is hashed no further than a right one.
        if not compare_digest(held.digest, digest_of(text[: LENGTH + 1])):
            raise Unauthenticated("this server does not know this token", reason="TOKEN_UNKNOWN")
        now = self._now()
        if method not in held.methods or held.expires_at <= now:
            raise _why_not(held, method, now)
        held.used_at = now
        return held.principal

    def uses(self) -> dict[str, datetime]:
        """Give when tokens were used last, of those that were since this was asked before."""
        found = {}
        for token_id, held in self._held.items():
            if held.used_at > held.saved_at:
                held.saved_at = held.used_at
                found[token_id] = datetime.fromtimestamp(held.saved_at, UTC)
        return found


def _token_in(metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    for key, value in metadata:
        if key == HEADER and isinstance(value, str):
            return value[_AFTER_BEARER] if value[_OF_BEARER].lower() == _BEARER else value
    return None


def _why_not(held: _Held, method: str, now: float) -> PushserveError:
    """Say why a token that is known does not let this call in."""
    if held.revoked:
        return Unauthenticated("this token was revoked", reason="TOKEN_REVOKED")
    if held.expires_at <= now:
        return Unauthenticated("this token has expired", reason="TOKEN_EXPIRED")
    needed = METHOD_RULES[method].scopes
    return NotAllowed(_scope_missing(method, needed, held.scopes), reason="SCOPE_MISSING")


def _scope_missing(method: str, needed: frozenset[Scope], has: frozenset[Scope]) -> str:
    name = method.rpartition("/")[2].partition(" ")[0]
    one_of = " or ".join(scope for scope in Scope if scope in needed)
    return f"{name} needs a token with scope {one_of}; this one has {', '.join(sorted(has))}"
