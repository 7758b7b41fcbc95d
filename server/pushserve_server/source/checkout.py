"""Checkout: a model's folder written for the sandbox; regular files, nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from pushserve_server.errors import DeploymentFailed
from pushserve_server.source import refusals
from pushserve_server.source.names import bad_file_name, folder_prefix
from pushserve_server.source.tree import Entry, Tree

_POINTER: Final = b"version https://git-lfs.github.com/spec/v1"
_POINTER_SIZE: Final = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)
_LARGEST_POINTER: Final = 1024  # by the LFS specification
_MOST_FILES: Final = 10_000
"""Of a model's folder: each is synced when the bundle is stored, which takes milliseconds."""


def materialise(
    tree: Tree, folder: str, target: Path, *, max_artifact: int, max_repository: int
) -> list[Path]:
    """Write a folder's files below `target` (mode 0644); returns the paths written.

    Every file of the folder has to be acceptable, since a model may read any of them.
    Sizes are in bytes: `max_artifact` of each file, `max_repository` of all together.

    Raises:
        BadInput: `folder` is no relative folder.
        DeploymentFailed: FOLDER_NOT_FOUND, SYMLINK_NOT_ALLOWED, SUBMODULE_NOT_ALLOWED,
            BAD_FILE_NAME, REPOSITORY_CORRUPT, ARTIFACT_TOO_LARGE, REPOSITORY_TOO_LARGE,
            LFS_POINTER.
        Unavailable, Cancelled: as Tree's methods.
    """
    prefix = folder_prefix(folder)
    entries = tree.entries(folder)
    if not entries:
        raise refusals.folder_not_found(prefix, _folders(tree))
    if len(entries) > _MOST_FILES:
        raise refusals.too_many_files(prefix or "the repository", _MOST_FILES)
    _check_kinds(entries)
    _check_sizes(tree, entries, prefix, max_artifact, max_repository)
    files = [(entry, target / entry.path.removeprefix(prefix)) for entry in entries]
    _make_folders(target, [path for _, path in files])
    tree.write_all(files)
    for entry, path in files:
        _refuse_pointer(entry, path)
    return [path for _, path in files]


def _folders(tree: Tree) -> list[str]:
    try:
        parents = {str(PurePosixPath(entry.path).parent) for entry in tree.entries()}
    except DeploymentFailed:  # a bad name elsewhere is not what is wrong here
        return []
    return sorted(parents - {"."})[:5]


def _check_kinds(entries: Sequence[Entry]) -> None:
    paths = {entry.path for entry in entries}
    for entry in entries:
        if entry.is_symlink:
            raise refusals.symlink(entry.path)
        if entry.is_submodule:
            raise refusals.submodule(entry.path)
        if not entry.is_file:
            raise refusals.not_a_file(entry.path, f"{entry.kind} of mode {entry.mode}")
        if not paths.isdisjoint(map(str, PurePosixPath(entry.path).parents)):
            raise bad_file_name(entry.path, "a file and a folder have the same name")


def _check_sizes(
    tree: Tree, entries: Sequence[Entry], prefix: str, max_artifact: int, max_repository: int
) -> None:
    sizes = tree.sizes(entries)
    total = 0
    for entry in entries:
        size = sizes[entry.oid]
        if size is None or size > max_artifact:
            raise refusals.too_large(entry.path, size, max_artifact)
        total += size
    if total > max_repository:
        raise refusals.folder_too_large(prefix, total, max_repository)


def _make_folders(target: Path, files: Sequence[Path]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    folders = {parent for file in files for parent in file.relative_to(target).parents}
    for folder in sorted(folders):  # parents come first
        path = target / folder
        path.mkdir(exist_ok=True)
        path.chmod(0o755)  # the sandbox's user reads it, whatever the server's umask


def _refuse_pointer(entry: Entry, path: Path) -> None:
    if path.stat().st_size > _LARGEST_POINTER:
        return
    content = path.read_bytes()
    if content.startswith(_POINTER):
        size = _POINTER_SIZE.search(content)
        raise refusals.lfs_pointer(entry.path, int(size[1]) if size else None)
