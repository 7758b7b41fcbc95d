"""Arrow values: one column's buffers, as Arrow lays them out in memory, to Python values.

Layouts: https://arrow.apache.org/docs/format/Columnar.html. A column that was sliced starts at an
offset; a bit that is 0 in the first buffer marks a null.
"""

from __future__ import annotations

import array
import ctypes
import struct
from typing import Any, Final

_NUMBERS: Final = dict(zip("cCsSiIlLfg", "bBhHiIqQfd"))
"""Arrow's format to that of `array`."""
_TIMES: Final = ("td", "tt", "ts", "tD", "ti")


class NotSent(Exception):
    """A column's type has no equal; the text goes on after the column's name."""


def read_values(schema: Any, data: Any, start: int, length: int) -> tuple[str, list[Any]]:
    """Give a column's kind (as messages name it) and its values; None is null.

    `schema` is an ArrowSchema and `data` an ArrowArray, or None for the kind alone.

    Raises:
        NotSent: the type has no equal.
    """
    form = schema.format.decode()
    if schema.dictionary:
        kind, known = _dictionary(schema, data)
        if data is None:
            return kind, []
        codes = _numbers(form, data, start, length)
        values = [known[code] if 0 <= code < len(known) else None for code in codes]
    else:
        kind = _kind(form)
        values = [] if data is None else _plain_values(form, data, start, length)
    valid = None if data is None or form == "n" else _valid(data, start, length)
    return kind, values if valid is None else [v if ok else None for v, ok in zip(values, valid)]


def _kind(form: str) -> str:
    if form in _NUMBERS:
        return "doubles" if form in "fg" else "ints"
    if form in ("u", "U", "vu"):
        return "strings"
    if form in ("e", "n") or form.startswith("d:"):
        return "doubles"
    if form == "b":
        return "bools"
    if form.startswith(_TIMES):
        raise NotSent("holds times; send a number or text, such as '2026-01-31'")
    if form.startswith("+"):
        raise NotSent("holds lists or structures; give a list of dicts")
    raise NotSent(f"has Arrow's type {form!r}; cast it to numbers, text or truth values")


def _dictionary(schema: Any, data: Any) -> tuple[str, list[Any]]:
    """Give kind and values of the categories that a column's numbers stand for."""
    inner, known = schema.dictionary.contents, None if data is None else data.dictionary.contents
    if known is None:
        return read_values(inner, None, 0, 0)
    return read_values(inner, known, known.offset, known.length)


def _plain_values(form: str, data: Any, start: int, length: int) -> list[Any]:
    if form in _NUMBERS:
        return _numbers(form, data, start, length)
    if form == "n":
        return [None] * length
    if form == "b":
        return bits(data.buffers[1], start, length)
    if form == "e":
        return list(struct.unpack(f"={length}e", _bytes(data, 1, start * 2, length * 2)))
    if form.startswith("d:"):
        return _decimals(form, data, start, length)
    return _views(data, start, length) if form == "vu" else _texts(form, data, start, length)


def _valid(data: Any, start: int, length: int) -> list[bool] | None:
    """Say which rows hold a value; None: all do."""
    if not (data.n_buffers and data.buffers[0]) or data.null_count == 0:
        return None
    return bits(data.buffers[0], start, length)


def _bytes(data: Any, buffer: int, start: int, size: int) -> bytes:
    return ctypes.string_at(data.buffers[buffer] + start, size) if size else b""


def bits(address: int, start: int, length: int) -> list[bool]:
    """Give `length` bits from the `start`th on, of bytes whose lowest bit comes first."""
    if not length:
        return []
    first = start // 8
    packed = ctypes.string_at(address + first, (start + length + 7) // 8 - first)
    every = [bool(byte >> bit & 1) for byte in packed for bit in range(8)]
    return every[start % 8 : start % 8 + length]


def _numbers(form: str, data: Any, start: int, length: int) -> list[Any]:
    numbers = array.array(_NUMBERS[form])
    numbers.frombytes(_bytes(data, 1, start * numbers.itemsize, length * numbers.itemsize))
    return numbers.tolist()


def _decimals(form: str, data: Any, start: int, length: int) -> list[float]:
    """Decimals as the nearest floats: "d:precision,scale" or "d:precision,scale,bits"."""
    _, scale, *bits = (int(part) for part in form[2:].split(","))
    size = bits[0] // 8 if bits else 16
    packed = _bytes(data, 1, start * size, length * size)
    whole = (
        int.from_bytes(packed[at : at + size], "little", signed=True)
        for at in range(0, len(packed), size)
    )
    # Python divides whole numbers to the nearest float, however long they are.
    return [number / 10**scale if scale >= 0 else float(number * 10**-scale) for number in whole]


def _texts(form: str, data: Any, start: int, length: int) -> list[str]:
    ends = array.array("q" if form == "U" else "i")
    ends.frombytes(_bytes(data, 1, start * ends.itemsize, (length + 1) * ends.itemsize))
    if not length:
        return []
    joined, base = _bytes(data, 2, ends[0], ends[-1] - ends[0]), ends[0]
    return [joined[a - base : b - base].decode() for a, b in zip(ends, ends[1:])]


def _views(data: Any, start: int, length: int) -> list[str]:
    """Texts of up to 12 bytes in place; of longer ones, where they are."""
    texts = []
    packed = _bytes(data, 1, start * 16, length * 16)
    # What stands in the place of a null means nothing, its address the least.
    for row, valid in enumerate(_valid(data, start, length) or [True] * length):
        size, _, buffer, offset = struct.unpack_from("=iiii", packed, row * 16)
        short = packed[row * 16 + 4 : row * 16 + 4 + size]
        text = b"" if not valid else short if size <= 12 else _bytes(data, 2 + buffer, offset, size)
        texts.append(text.decode())
    return texts
