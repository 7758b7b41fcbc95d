"""Text files: bytes that somebody saved or typed, in whatever encoding, as text."""

from __future__ import annotations

import codecs
import contextlib
import re
from pathlib import Path
from typing import BinaryIO, Final

from pushserve_client.errors import BadData

MOST: Final = 256 * 1024**2
"""Largest input in bytes. A call takes 64 MiB, and text is larger than the numbers it means."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES: Final = {
    b"PK\x03\x04": "a zip archive, as Excel's .xlsx is; save it as CSV",
    b"PAR1": "Parquet; read it by pandas or Polars and use the Python client",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"ARROW1": "Arrow; read it by pandas or Polars and use the Python client",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save it as CSV",
}


def read_bytes(file: BinaryIO) -> bytes:
    """Read a file to its end.

    Raises:
        BadData: it is longer than MOST.
    """
    data = file.read(MOST + 1)
    if len(data) > MOST:
        raise BadData(f"the input has over {MOST // 1024**2} MiB; send it in parts")
    return data


def read_file(path: str) -> bytes:
    """Read a file by its name.

    Raises:
        OSError: it cannot be read.
        BadData: it is longer than MOST.
    """
    with Path(path).open("rb") as file:
        return read_bytes(file)


def text_of(data: bytes, encoding: str = "") -> tuple[str, str]:
    """Give the text, and what to remark about its encoding ("" for UTF-8, or what was asked for).

    By its byte order mark, as UTF-8, as UTF-16 by its zeros, else as Windows' Western encoding.

    Raises:
        BadData: it is no text, or not in `encoding`.
    """
    for head, what in _OTHER_FILES.items():
        if data.startswith(head):
            raise BadData(f"the input is no text, but {what}")
    if encoding:
        return _decoded(data, encoding), ""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if marked:
        return _decoded(data, marked), "" if marked == "utf-8-sig" else f"read as {marked.upper()}"
    return _guessed(data)


def _guessed(data: bytes) -> tuple[str, str]:
    if b"\0" in data:
        wide = _wide_encoding(data[:1000])
        if not wide:
            raise BadData("the input is no text: it has bytes that are 0")
        return _decoded(data, wide), f"read as {wide.upper()}"
    for encoding in ("utf-8", "cp1252", "latin-1"):  # the last takes any bytes
        with contextlib.suppress(UnicodeDecodeError):
            is_plain = encoding == "utf-8"
            remark = f"not UTF-8: read as {encoding} (--encoding names another)"
            return data.decode(encoding), "" if is_plain else remark
    raise AssertionError


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).lstrip("\ufeff")
    except LookupError:
        raise BadData(f"there is no encoding {encoding!r}; for example utf-8, cp1252") from None
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
        raise BadData(f"line {line} is not {encoding} text: {error.reason}") from None


def _wide_encoding(head: bytes) -> str:
    """Name UTF-16's byte order by where most zeros are; "" for neither."""
    most = 0.4 * (len(head) // 2)
    if len(head) > 3 and head[1::2].count(0) > most:
        return "utf-16-le"
    return "utf-16-be" if len(head) > 3 and head[0::2].count(0) > most else ""
