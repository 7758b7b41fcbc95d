"""Bundles: what builds left, stored under the SHA-256 of what is in them.

    <root>/<digest>/bundle.json    format, spec, and size and SHA-256 of every file
    <root>/<digest>/files/…        the model's folder as it was in Git
    <root>/<digest>/compiled.onnx  the graph that the model was compiled to, if it was

A bundle is written under a temporary name, synced and renamed, so that one that is there
is whole; two that write the same one at a time leave the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.graph_bounds import RULES

_FORMAT: Final = 2
"""2 holds what a graph's runs take (`bounds` in the spec); one of another format is built again."""
_NAME: Final = "bundle.json"
_GRAPH: Final = "compiled.onnx"
_DIGEST_LENGTH: Final = 64


class BundleBroken(Exception):
    """A bundle is not there or not whole; it has to be built again."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle on disk: `folder` holds the model's files, `spec` says how to load it.

    `graph` is what the model was compiled to, None where it was not.
    """

    digest: str
    path: Path
    folder: Path
    spec: dict[str, Any]
    size: int
    graph: Path | None


@dataclass(frozen=True, slots=True)
class _Head:
    """What a bundle says of itself."""

    spec: dict[str, Any]
    files: list[_File]
    graph: _File | None


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size: int
    sha256: str


class Bundles:
    """The store below one directory; any number of processes may use it."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def add(self, folder: Path, spec: dict[str, Any], graph: Path | None = None) -> str:
        """Store a copy of `folder`'s files, and of a graph, with `spec` (JSON values).

        Returns the digest.
        """
        # Umask must not decide whether the sandbox's user can read a bundle.
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        try:
            files = _copy(folder, temporary / "files")
            head = {"format": _FORMAT, "spec": spec, "files": [_row(file) for file in files]}
            if graph is not None:
                head["graph"] = _row(_copy_file(graph, temporary / _GRAPH, _GRAPH))
            content = _canonical(head)
            digest = hashlib.sha256(content).hexdigest()
            _write(temporary / _NAME, content)
            _sync_directory(temporary)
            temporary.chmod(0o755)
            self._place(temporary, digest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return digest

    def open(self, digest: str) -> Bundle:
        """Give a bundle after a cheap check: its description is the digest's, sizes agree.

        Raises:
            BundleBroken: it is not there or not whole.
        """
        return self._open(digest)[0]

    def _open(self, digest: str) -> tuple[Bundle, _Head]:
        path = self._path(digest)
        head = _read_head(path, digest)
        for file in head.files:
            _check_size(path / "files" / file.name, file.size)
        if head.graph is not None:
            _check_size(path / _GRAPH, head.graph.size)
        bundle = Bundle(
            digest=digest,
            path=path,
            folder=path / "files",
            spec=head.spec,
            size=sum(file.size for file in head.files),
            graph=None if head.graph is None else path / _GRAPH,
        )
        return bundle, head

    def verify(self, digest: str, *, graph_only: bool = False) -> Bundle:
        """Like `open`, and read every byte, of the graph alone where that is all that is loaded.

        A bundle that was changed is withdrawn: it is not there any more for anybody, and so is
        built again. What has its files open already keeps them.

        Raises:
            BundleBroken: it is not there, not whole, or was changed.
        """
        bundle, head = self._open(digest)
        stored = [(bundle.folder / file.name, file) for file in head.files]
        if head.graph is not None:
            kept = [] if graph_only else stored
            stored = [*kept, (bundle.path / _GRAPH, head.graph)]
        for path, file in stored:
            if _hash(path) != file.sha256:
                (bundle.path / _NAME).unlink(missing_ok=True)
                os.utime(self._root)
                raise BundleBroken(f"{file.name} of bundle {digest[:12]} was changed")
        return bundle

    def exists(self, digest: str) -> bool:
        """Whether there is one by that name; `has` also looks whether it is whole."""
        return (self._path(digest) / _NAME).is_file()

    def has(self, digest: str) -> bool:
        """Whether `verify` would give it."""
        try:
            self.verify(digest)
        except BundleBroken:
            return False
        return True

    def changed_at(self) -> int:
        """Give when a bundle was last added or withdrawn, in ns; 0 before the first one."""
        try:
            return self._root.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _path(self, digest: str) -> Path:
        if len(digest) != _DIGEST_LENGTH or not set(digest) <= set("0123456789abcdef"):
            raise BundleBroken("a bundle is named by a SHA-256 in hex")
        return self._root / digest

    def _place(self, temporary: Path, digest: str) -> None:
        if self.has(digest):
            return
        target = self._root / digest
        aside = self._root / f".broken-{temporary.name}"
        if target.exists():
            target.rename(aside)
        try:
            temporary.rename(target)
        except OSError:
            if not self.has(digest):  # else another process was faster
                raise
        _sync_directory(self._root)
        shutil.rmtree(aside, ignore_errors=True)


def _copy(folder: Path, target: Path) -> list[_File]:
    files = []
    target.mkdir(mode=0o755)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"{name} is neither a file nor a folder")
        if path.is_dir():
            (target / name).mkdir(mode=0o755)
        else:
            files.append(_copy_file(path, target / name, name))
    for directory in (target, *(d for d in target.rglob("*") if d.is_dir())):
        directory.chmod(0o755)
        _sync_directory(directory)
    return files


def _copy_file(source: Path, target: Path, name: str) -> _File:
    shutil.copyfile(source, target)
    target.chmod(0o644)
    with target.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return _File(name, file.tell(), digest)


def _read_head(path: Path, digest: str) -> _Head:
    try:
        content = (path / _NAME).read_bytes()
    except OSError as error:
        raise BundleBroken(f"bundle {digest[:12]} is not on disk: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleBroken(f"{_NAME} of bundle {digest[:12]} was changed")
    head = json.loads(content)  # its bytes are those that `add` wrote
    if head["format"] != _FORMAT:
        raise BundleBroken(f"bundle {digest[:12]} has format {head['format']}, not {_FORMAT}")
    bounds = head["spec"].get("bounds")
    if bounds is not None and bounds["rules"] != RULES:
        raise BundleBroken(f"the graph of bundle {digest[:12]} was checked by other rules")
    graph = head.get("graph")
    return _Head(
        head["spec"], [_File(**row) for row in head["files"]], _File(**graph) if graph else None
    )


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise BundleBroken(f"{path.name} cannot be read: {error.strerror}") from None
    if found != size:
        raise BundleBroken(f"{path.name} has {found} bytes, not {size}")


def _row(file: _File) -> dict[str, Any]:
    return {"name": file.name, "size": file.size, "sha256": file.sha256}


def _canonical(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # another process has just withdrawn or replaced the bundle
        raise BundleBroken(f"{path.name} cannot be read: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
