"""JSON from outside: its size, depth and number of values are looked at before it is parsed.

Parsed, eight bytes of JSON may take 250 bytes of memory, and what is nested deep is more than
Python's own recursion takes, in whoever walks over it later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final


class JsonRefused(ValueError):
    """It is no JSON, or more than is read; the text says which."""


@dataclass(frozen=True)
class JsonLimit:
    """How much is read: bytes, values (as many as commas, colons and brackets), and nesting."""

    size: int
    values: int
    depth: int = 64


def parse_json(data: bytes | bytearray, limit: JsonLimit) -> Any:
    """Parse a JSON text in UTF-8, or in UTF-16 or UTF-32 as some editors write it.

    Raises:
        JsonRefused: it is no JSON, or over the limit.
    """
    if len(data) > limit.size:
        raise JsonRefused(f"it has {len(data):,} bytes; at most {limit.size:,} are read")
    try:
        text = data.decode(json.detect_encoding(data))
        check_shape(text, limit)
        return json.loads(text)
    except JsonRefused:
        raise
    except UnicodeDecodeError:
        raise JsonRefused("it is not JSON: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise JsonRefused(f"it is not JSON: {error}") from None
    except RecursionError:  # from a stack that was deep before
        raise JsonRefused("it is nested too deep") from None
    except ValueError:
        raise JsonRefused("it holds a number of more digits than are read") from None


def check_shape(text: str, limit: JsonLimit) -> None:
    """Look at how much a JSON text holds, without parsing it.

    Raises:
        JsonRefused: it is over the limit.
    """
    plain = _without_strings(text)
    values = sum(map(plain.count, (b"[", b"{", b",", b":")))
    if values > limit.values:
        raise JsonRefused(f"it holds {values:,} values; at most {limit.values:,} are read")
    depth = max(accumulate(map(_STEPS.__getitem__, plain.translate(None, _OTHERS))), default=0)
    if depth > limit.depth:
        raise JsonRefused(f"it is nested {depth:,} deep; at most {limit.depth} are read")


_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS: Final = bytes(set(range(256)) - _STEPS.keys())


def _without_strings(text: str) -> bytes:
    """Give what is outside of strings."""
    # Pairs of backslashes stand only in strings and are taken from the left, as JSON reads them.
    body = text.encode().replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])
