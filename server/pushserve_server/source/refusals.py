"""Refusals: why a folder's files are refused, with what the data scientist is to do."""

from __future__ import annotations

import shlex
from typing import Final

from pushserve_server.errors import DeploymentFailed

_UNITS: Final = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def human_size(size: int) -> str:
    """A size as people write it, such as "1.5 MiB"; exact in bytes below 1 KiB."""
    for unit, worth in _UNITS:
        if size >= worth:
            return f"{size / worth:.4g} {unit}"
    return f"{size} bytes"


def too_large(path: str, size: int | None, limit: int) -> DeploymentFailed:
    """A file over the limit; `size` is None where the remote left it out."""
    known = f"is {human_size(size)}, " if size is not None else "is "
    return DeploymentFailed(
        "ARTIFACT_TOO_LARGE",
        f"{path} {known}over the limit of {human_size(limit)} a file",
        "Make the model smaller (fewer or shallower trees, joblib.dump(…, compress=3)) or take the "
        "file out of the model's folder; the operator's limit is max_artifact.",
    )


def folder_too_large(folder: str, size: int, limit: int) -> DeploymentFailed:
    """A folder whose files are together over the limit."""
    return DeploymentFailed(
        "REPOSITORY_TOO_LARGE",
        f"{folder or 'the repository'} is {human_size(size)}, over the limit of "
        f"{human_size(limit)} a model folder",
        "Keep only what the model needs in its folder (no training data), and register that "
        "folder; the operator's limit is max_repository.",
    )


def too_many_files(folder: str, limit: int) -> DeploymentFailed:
    """A folder, or "" for the whole commit, with more files than are looked at."""
    return DeploymentFailed(
        "REPOSITORY_TOO_LARGE",
        f"{folder or 'the commit'} holds more than {limit:,} files",
        "Keep only what the model needs in its folder (no data set of many small files), and "
        "register that folder; put the model into a repository of its own if this one is larger.",
    )


def too_deep() -> DeploymentFailed:
    """Folders in folders, until git's stack overflows."""
    return DeploymentFailed(
        "REPOSITORY_CORRUPT",
        "git crashes on the commit's folders: some lie too many folders deep",
        "Remove the folders that are nested so deep, and push again.",
    )


def not_a_file(path: str, kind: str) -> DeploymentFailed:
    """An entry that its tree says is a file, though the object is a "tree", "commit" or "tag"."""
    return DeploymentFailed(
        "REPOSITORY_CORRUPT",
        f"{path} has a file's mode, but what Git holds there is a {kind}",
        "Run `git fsck --strict` in a clone and commit the file anew.",
    )


def symlink(path: str) -> DeploymentFailed:
    """A symbolic link, wherever it points."""
    name = shlex.quote(path)
    return DeploymentFailed(
        "SYMLINK_NOT_ALLOWED",
        f"{path} is a symbolic link",
        f"Commit the file itself in place of the link: cp --remove-destination "
        f'"$(readlink -f {name})" {name}',
    )


def submodule(path: str) -> DeploymentFailed:
    """Another repository inside the folder."""
    return DeploymentFailed(
        "SUBMODULE_NOT_ALLOWED",
        f"{path} is a submodule, which is not fetched",
        "Commit the files that the model needs themselves, or move the submodule out of the "
        "model's folder.",
    )


def lfs_pointer(path: str, size: int | None) -> DeploymentFailed:
    """A Git LFS pointer in place of the file."""
    name = shlex.quote(path)
    stands_for = f" for a file of {human_size(size)}" if size is not None else ""
    return DeploymentFailed(
        "LFS_POINTER",
        f"{path} is a Git LFS pointer{stands_for}, not the file itself",
        f"Commit the file without LFS: git lfs untrack {name}; git add --renormalize {name}; then "
        "commit and push.",
    )


def folder_not_found(folder: str, instead: list[str]) -> DeploymentFailed:
    """No such folder; `instead` are some that exist."""
    exist = ", ".join(instead) or "none"
    return DeploymentFailed(
        "FOLDER_NOT_FOUND",
        f"the commit has no files in {folder or 'its root'!r}",
        f"Register a folder that holds the model's files (there are: {exist}), or push one.",
    )
