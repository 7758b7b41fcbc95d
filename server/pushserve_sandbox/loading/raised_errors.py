"""Raised errors: what a repository's code raised, where in its own files, and what it tried."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Final

from pushserve_runtime.build_error import brief, printable

_PATHS: Final = tuple(
    sorted(
        {
            *(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib", "stdlib")),
            f"{Path(__file__).resolve().parents[2]}/",
        },
        key=len,
        reverse=True,
    )
)
"""Where the server's own files are, the innermost first."""


def told(error: BaseException, folder: Path) -> str:
    """Give an exception's class and text, and the last line of the folder's files on its way.

    The server's own paths are taken out.
    """
    text = without_paths(brief(error), folder)
    where = place(error, folder)
    return f"{text} ({where})" if where else text


def without_paths(text: str, folder: Path) -> str:
    """Give a text with files named as from the model's folder, or from where Python has them."""
    for path in (f"{folder}/", *_PATHS):
        text = text.replace(path, "")
    return text


def forbidden(error: BaseException) -> str:
    """Say what the sandbox kept the code from, "file" or "process"; "" where it did not.

    An exception alone tells no more; the jail's watch does (`diagnosis`).
    """
    if came_from(error, PermissionError):
        return "file"
    if isinstance(error, RuntimeError) and "start new thread" in brief(error):
        return "process"
    return ""


def came_from(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Say whether an exception, or what it was raised from, is of a kind."""
    for _ in range(100):
        if error is None or isinstance(error, kind):
            return error is not None
        error = error.__cause__ or error.__context__
    return False


def place(error: BaseException, folder: Path) -> str:
    """Give file, line and function; "" where no frame is of the folder's files."""
    start = f"{folder}/"
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path.startswith(start):
            name = printable(path.removeprefix(start), 120)
            function = printable(frame.f_code.co_name, 80)
            within = "" if function == "<module>" else f", in {function}"
            found = f"{name}, line {line}{within}"
    return found
