"""Issued tokens: what the registry holds of the tokens that callers show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from pushserve_server.domain.access_token import AccessToken, Scope
from pushserve_server.errors import NotFound
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.tables import TokenRow


class IssuedTokens:
    """The part of the registry that says who may come in.

    Issuing and revoking are changes that whoever serves has to hear of.
    """

    _store: RegistryDatabase

    def issue_token(self, token: AccessToken) -> AccessToken:
        """Keep a token, from now on."""
        with self._store.writing() as tables:
            token = replace(token, created_at=self._store.shown_now())
            tables.tokens.insert(
                id=token.id,
                name=token.name,
                digest=token.digest.hex(),
                scopes=json.dumps(sorted(token.scopes)),
                models=json.dumps(token.models),
                created_at=token.created_at,
                expires_at=token.expires_at,
            ).execute()
            self._store.bump()
        return token

    def issued_tokens(self) -> list[AccessToken]:
        """Give all tokens, the oldest first, those that were revoked among them."""
        with self._store.reading() as tables:
            tokens = tables.tokens
            return [_record(row) for row in tokens.select().order_by(tokens.created_at, tokens.id)]

    def revoke_token(self, token_id: str) -> AccessToken:
        """Have a token let nobody in any more; one that was revoked before stays as it is.

        Raises:
            NotFound: there is none with this id.
        """
        with self._store.writing() as tables:
            row = tables.tokens.get_or_none(tables.tokens.id == token_id)
            if row is None:
                raise NotFound(
                    "token", token_id, f"there is no token with the id {token_id[:50]!r}"
                )
            if row.revoked_at is None:
                row.revoked_at = self._store.shown_now()
                row.save()
                self._store.bump()
            return _record(row)

    def note_token_uses(self, uses: Mapping[str, datetime]) -> None:
        """Note when tokens were used last. That is no change that others have to hear of."""
        with self._store.writing() as tables:
            tokens = tables.tokens
            for token_id, at in uses.items():
                older = tokens.last_used_at.is_null() | (tokens.last_used_at < at)
                tokens.update(last_used_at=at).where((tokens.id == token_id) & older).execute()


def _record(row: TokenRow) -> AccessToken:
    return AccessToken(
        id=row.id,
        name=row.name,
        digest=bytes.fromhex(row.digest),
        scopes=frozenset(map(Scope, json.loads(row.scopes))),
        models=tuple(json.loads(row.models)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
