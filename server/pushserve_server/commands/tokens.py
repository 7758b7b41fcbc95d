"""`pushserve token`: makes, lists and revokes tokens, in the registry of the server's settings.

It needs no server and no token: whoever can read the registry is the operator.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pushserve_client.cli import screen
from pushserve_server import data_layout
from pushserve_server.config import load_settings
from pushserve_server.domain.access_token import (
    ALL_MODELS,
    ID_PART,
    AccessToken,
    Scope,
    digest_of,
    new_token,
)
from pushserve_server.errors import NotFound, Unavailable
from pushserve_server.registry import Registry
from pushserve_server.settings import ConfigError, Settings
from pushserve_server.wakeups import Wakeups

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
_MODEL: Final = re.compile(r"[\w.*?-]{1,100}")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


class _Wrong(Exception):
    """An option is wrong; the text says which and what is right."""


def create(name: str, scopes: Sequence[str], models: Sequence[str], expires: str) -> int:
    """Make a token and print it, alone on standard output; gives the exit code."""
    with _registry_or_words() as registry:
        if registry is None:
            return 1
        text = new_token()
        try:
            token = _token(text, name, scopes, models, expires)
        except _Wrong as error:
            screen.fail(str(error))
            return 2
        registry.issue_token(token)
    end = f"until {screen.moment(token.expires_at)}" if token.expires_at else "for good"
    screen.remark(
        f"token {token.id} ({token.name}): {', '.join(sorted(token.scopes))} for "
        f"{_models(token)}, {end}. It is shown this once:"
    )
    screen.copyable(text)
    return 0


def list_all(*, as_json: bool) -> int:
    """Print all tokens by what is kept of them; gives the exit code."""
    with _registry_or_words() as registry:
        if registry is None:
            return 1
        tokens = registry.issued_tokens()
    if as_json:
        screen.print_json([_shown(token) for token in tokens])
        return 0
    titles = ("ID", "NAME", "SCOPES", "MODELS", "STATE", "EXPIRES", "LAST USED")
    screen.table(titles, [_row(token) for token in tokens])
    return 0


def revoke(token_id: str) -> int:
    """Have a token let nobody in any more; gives the exit code."""
    with _registry_or_words() as registry:
        if registry is None:
            return 1
        try:
            token = registry.revoke_token(token_id)
        except NotFound as error:
            screen.fail(error.message, "`pushserve token list` shows the tokens that there are.")
            return 1
    screen.say(f"token {token.id} ({token.name}) lets nobody in any more")
    return 0


@contextlib.contextmanager
def _registry_or_words() -> Iterator[Registry | None]:
    """Open the registry of the settings; None where it cannot be, which is said."""
    try:
        settings = load_settings()
        registry = Registry.open(settings.database)
    except ConfigError as error:
        screen.fail("the configuration is wrong", str(error))
        yield None
        return
    except (Unavailable, ValueError, OSError) as error:
        screen.fail(f"the registry cannot be used: {error}", "`pushserve doctor` says more.")
        yield None
        return
    registry.when_changed(lambda: _wake(settings))
    with contextlib.closing(registry):
        yield registry


def _wake(settings: Settings) -> None:
    """Have a server on this data directory look at once, where there is one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(data_layout.address_file(settings).read_text())
        Wakeups(Path(said["run_dir"])).wake()


def _token(
    text: str, name: str, scopes: Sequence[str], models: Sequence[str], expires: str
) -> AccessToken:
    if not _NAME.fullmatch(name):
        raise _Wrong("a token's name has 1 to 100 characters, none of them a control character")
    if not scopes:
        raise _Wrong(f"give --scope at least once: {', '.join(Scope)}")
    unknown = [scope for scope in scopes if scope not in set(Scope)]
    if unknown:
        raise _Wrong(f"--scope: {unknown[0]!r} is none of {', '.join(Scope)}")
    wrong = [model for model in models if not _MODEL.fullmatch(model)]
    if wrong:
        raise _Wrong(f"--model: {wrong[0]!r} is no name of a model, in which * stands for any part")
    return AccessToken(
        text[ID_PART],
        name,
        digest_of(text),
        frozenset(map(Scope, scopes)),
        tuple(models) or ALL_MODELS,
        expires_at=_end(expires),
    )


def _end(expires: str) -> datetime | None:
    if expires == "never":
        return None
    found = re.fullmatch(r"(\d{1,5})([hdw])", expires, re.ASCII)
    if found is None:
        raise _Wrong(f'--expires: {expires!r} is none of "12h", "90d", "52w", "never"')
    return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})


def _models(token: AccessToken) -> str:
    return "all models" if token.models == ALL_MODELS else ", ".join(token.models)


def _state(token: AccessToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        return "expired"
    return "good"


def _row(token: AccessToken) -> tuple[str, ...]:
    end, used = (screen.moment(at) or "never" for at in (token.expires_at, token.last_used_at))
    scopes = ", ".join(sorted(token.scopes))
    return (token.id, token.name, scopes, _models(token), _state(token), end, used)


def _shown(token: AccessToken) -> dict[str, Any]:
    """Give what may be shown: nothing of the digest."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "models": list(token.models),
        "state": _state(token),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "last_used_at": token.last_used_at,
    }
