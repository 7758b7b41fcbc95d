"""Request texts: how long names in a call may be, before the database or a message has them."""

from __future__ import annotations

from typing import Final

from pushserve_server.errors import BadInput, Violation

LONGEST: Final = {
    "model": 63,
    "name_prefix": 63,
    "ref": 1024,
    "path": 1024,
    "commit": 64,
    "source": 2052,  # a clone URL, and ".git" where the caller left that out
    "name": 64,
    "page_token": 1024,
}
"""Characters of each field; `name` is a deployment's."""


def check_text(field: str, value: str) -> None:
    """Refuse a text that nothing of its kind can be called.

    Raises:
        BadInput: it is longer than the field's names are, or holds a control character.
    """
    longest = LONGEST[field]
    if len(value) > longest:
        wrong = f"it has {len(value):,} characters; at most {longest:,} are read"
    elif any(c < " " or c == "\x7f" for c in value):
        wrong = "it holds a control character"
    else:
        return
    raise BadInput(f"{field}: {wrong}", [Violation(field, wrong)])
