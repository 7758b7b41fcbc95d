"""File names: which names of folders and files are accepted."""

from __future__ import annotations

from typing import Final

from pushserve_server.errors import BadInput, DeploymentFailed, Violation
from pushserve_server.source.urls import shown

_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 1024
_DEEPEST: Final = 64
_TOO_LONG: Final = (
    f"the name is longer than {_LONGEST_NAME} bytes, or its path than {_LONGEST_PATH}"
)


def folder_prefix(folder: str) -> str:
    """The folder as the beginning of the paths below it: "" for the root, otherwise "a/b/".

    Raises:
        BadInput: it is absolute, leads upwards, or holds what no file name may hold.
    """
    folder = folder.removesuffix("/")
    if folder in ("", "."):
        return ""
    if problem := _problem(folder):
        right = 'a folder of the repository is written "models/iris", its root ""'
        raise BadInput(
            f"{shown(folder)!r} is not a folder of a repository: {problem}; {right}",
            [Violation("path", right)],
        )
    return f"{folder}/"


def check_name(path: str) -> None:
    """Refuse a file by its name.

    Raises:
        DeploymentFailed: BAD_FILE_NAME.
    """
    if problem := _problem(path):
        raise bad_file_name(path, problem)


def bad_file_name(path: str, problem: str) -> DeploymentFailed:
    """The refusal of a file for its name."""
    return DeploymentFailed(
        "BAD_FILE_NAME",
        f"{shown(path)!r}: {problem}",
        "Rename the file (git mv), commit and push.",
    )


def _problem(path: str) -> str | None:
    if len(path) > _LONGEST_PATH:
        return _TOO_LONG
    if not path.isprintable():  # false for the surrogates that stand for bytes outside UTF-8
        return "the name holds a control character or is not UTF-8"
    segments = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        return 'the name holds ".", ".." or "//", or begins with "/"'
    if any(segment.lower() == ".git" for segment in segments):
        return 'the name holds ".git", which is Git\'s own'
    if len(path.encode()) > _LONGEST_PATH or any(len(s.encode()) > _LONGEST_NAME for s in segments):
        return _TOO_LONG
    return f"it lies in more than {_DEEPEST} folders" if len(segments) > _DEEPEST else None
