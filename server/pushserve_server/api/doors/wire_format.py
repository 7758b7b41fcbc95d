"""Wire format: the pieces of protobuf's that joined answers need."""

from __future__ import annotations

from typing import Any, Final

_LENGTH_DELIMITED: Final = 2
_FIRST: Final = 1 << 3 | _LENGTH_DELIMITED
_MOST_KEYS: Final = 1000


def length_delimited_tag(message: Any, field: str) -> bytes:
    """Give the tag byte of a message or list field; those used here have numbers below 16."""
    return bytes((message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED,))


def map_keys(message: bytes) -> list[bytes]:
    """Give the keys of a serialized Struct in the order in which they stand there.

    None where it has more than 1,000, or is not written as map entries are: key first.
    """
    keys: list[bytes] = []
    at = 0
    while at < len(message):
        if message[at] != _FIRST or len(keys) == _MOST_KEYS:
            return []
        size, at = _read_varint(message, at + 1)
        end = at + size
        if at >= len(message) or message[at] != _FIRST:
            return []
        size, at = _read_varint(message, at + 1)
        keys.append(message[at : at + size])
        at = end
    return keys


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Give a number, and where it ends."""
    number = shift = 0
    while at < len(data):
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            break
    return number, at
