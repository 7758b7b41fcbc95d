"""Wire format: the two pieces of protobuf's that joined answers need."""

from __future__ import annotations

from typing import Any, Final

_LENGTH_DELIMITED: Final = 2
_SHORT: Final = [bytes((n,)) for n in range(0x80)]


def varint(n: int) -> bytes:
    """Encode a length."""
    if n < 0x80:
        return _SHORT[n]
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def length_delimited_tag(message: Any, field: str) -> bytes:
    """Give the tag byte of a message or list field; those used here have numbers below 16."""
    return bytes((message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED,))
