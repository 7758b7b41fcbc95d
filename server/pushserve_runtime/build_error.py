"""Build error: why a model cannot be served, in words that its author can act on.

A message is a phrase: it begins in lower case, as it follows a reason or a name, and has no full
stop. A fix is a sentence, which `BuildFailed` makes of a phrase.
"""

from __future__ import annotations

from collections.abc import Sequence

TEXT_LIMIT = 300
MESSAGE_LIMIT = 4000


class BuildFailed(Exception):
    """Ends a build: a stable reason, what is wrong, and what has to change."""

    def __init__(self, reason: str, message: str, fix: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.fix = as_sentence(fix)

    def to_json(self) -> dict[str, object]:
        """Give the message that ends a failed build."""
        message, fix = self.message[:MESSAGE_LIMIT], self.fix[:MESSAGE_LIMIT]
        return {"ok": False, "reason": self.reason, "message": message, "fix": fix}


def as_sentence(text: str) -> str:
    """Begin with a capital and end with a full stop, but for a text that ends with code."""
    stop = "." if text[-1:].isalnum() or text.endswith(")") else ""
    return text[:1].upper() + text[1:] + stop


def brief(error: BaseException) -> str:
    """Describe an exception of user code: its class and the start of its text, on one line."""
    name = type(error).__name__
    try:
        text = printable(str(error))
    except Exception:  # noqa: BLE001 (its class is user code as well)
        text = ""
    return f"{name}: {text}" if text else name


def printable(text: str, limit: int = TEXT_LIMIT) -> str:
    """Cut a text that comes from a repository to one short line of printable characters."""
    line = " ".join(text[: 4 * limit].split())
    clean = "".join(char if char.isprintable() else "?" for char in line)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Join names for a message; a long list is cut and counted."""
    shown = ", ".join(printable(name, 120) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
