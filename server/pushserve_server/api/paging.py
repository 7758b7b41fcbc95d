"""Paging: page sizes and page tokens."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from pushserve_server.errors import BadInput, Violation

DEFAULT_SIZE: Final = 50
LARGEST_SIZE: Final = 1000


def page_size(asked: int) -> int:
    """Give the size to use; 0 is the default, and more than the largest is the largest.

    Raises:
        BadInput: it is negative.
    """
    if asked < 0:
        raise BadInput(
            f"page_size is {asked}; expected 0 or more",
            [Violation("page_size", "expected 0 (for the default) or more")],
            reason="BAD_PAGE",
        )
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def token_from_name(name: str) -> str:
    """Make the token of the page that starts after `name`."""
    return base64.urlsafe_b64encode(b"n" + name.encode()).decode()


def name_from_token(token: str) -> str:
    """Read a token of `token_from_name`; "" is the first page."""
    return _read(token, b"n").decode() if token else ""


def token_from_id(row: int) -> str:
    """Make the token of the page that starts below the row `row`."""
    return base64.urlsafe_b64encode(b"i%d" % row).decode()


def id_from_token(token: str) -> int | None:
    """Read a token of `token_from_id`; None is the first page."""
    if not token:
        return None
    text = _read(token, b"i")
    if not text.isdigit() or len(text) > 18:
        raise _bad_token()
    return int(text)


def _read(token: str, kind: bytes) -> bytes:
    try:
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        data.decode()
    except (binascii.Error, ValueError):
        raise _bad_token() from None
    if data[:1] != kind:
        raise _bad_token()
    return data[1:]


def _bad_token() -> BadInput:
    right = "expected the next_page_token of an earlier reply, or nothing"
    return BadInput(
        f"page_token cannot be read; {right}", [Violation("page_token", right)], reason="BAD_PAGE"
    )
