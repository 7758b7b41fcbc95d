"""Varint: a length as protobuf's wire format has it, for servers and jobs that join messages."""

from __future__ import annotations

from typing import Final

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
