"""Tree: the files of one commit, read from a mirror without a checkout."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pushserve_server.errors import Unavailable
from pushserve_server.source.blobs import BlobWriter
from pushserve_server.source.command import (
    Budget,
    GitFailed,
    OutOfTime,
    TooMuchOutput,
    git_output,
    run_git,
)
from pushserve_server.source.mirror import Mirror
from pushserve_server.source.names import check_name, folder_prefix
from pushserve_server.source.refusals import not_a_file, too_deep, too_large, too_many_files

_REGULAR: Final = ("100644", "100755")
_MOST_FILES: Final = 200_000
"""Of a whole commit: each takes about 400 bytes here."""
_MOST_OUTPUT: Final = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, symbolic link or submodule. `path` is from the root of the repository."""

    path: str
    mode: str
    kind: str
    """Git's object type: "blob", or "commit" for a submodule."""
    oid: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == "blob" and self.mode in _REGULAR

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == "120000"

    @property
    def is_submodule(self) -> bool:
        """Whether it is another repository."""
        return self.kind == "commit"


class Tree:
    """One commit's files. Close it, so that its mirror may be deleted.

    Every method raises Cancelled when the event given to the fetch is set, and Unavailable
    when the mirror turns out to be broken (the next fetch makes it anew).
    """

    def __init__(self, mirror: Mirror, commit: str, budget: Budget, timeout: float) -> None:
        self.commit = commit
        self._mirror = mirror
        self._budget = budget
        self._timeout = timeout
        arguments = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit]
        try:
            listing = git_output(arguments, budget, git_dir=mirror.git_dir, limit=_MOST_OUTPUT)
        except TooMuchOutput:
            raise too_many_files("", _MOST_FILES) from None
        except GitFailed as error:
            if error.status == -signal.SIGSEGV:
                raise too_deep() from error
            raise
        if listing.count(b"\0") > _MOST_FILES:
            raise too_many_files("", _MOST_FILES)
        # Without -l, which would have to know the sizes of blobs that were left out.
        self._entries = [_parse(record) for record in listing.split(b"\0") if record]

    def entries(self, path: str = "") -> list[Entry]:
        """What is below a folder, recursively; empty when there is no such folder.

        Raises:
            BadInput: `path` is no relative folder.
            DeploymentFailed: BAD_FILE_NAME below the folder.
        """
        prefix = folder_prefix(path)
        found = [entry for entry in self._entries if entry.path.startswith(prefix)]
        for entry in found:
            check_name(entry.path)
        return found

    def sizes(self, entries: Iterable[Entry]) -> dict[str, int | None]:
        """Object id to size in bytes; None for one over the fetch's `max_blob`.

        Raises:
            DeploymentFailed: REPOSITORY_CORRUPT: an entry has a file's mode and leads to no file.
        """
        paths = {entry.oid: entry.path for entry in entries}
        missing = self._left_out() & paths.keys()
        arguments = ["cat-file", "--batch-check", "--buffer"]
        sizes: dict[str, int | None] = dict.fromkeys(missing)
        for line in self._output(arguments, sorted(paths.keys() - missing)).splitlines():
            oid, kind, size = line.split(" ")
            if kind != "blob":
                raise not_a_file(paths[oid], kind)
            sizes[oid] = int(size)
        return sizes

    def read(self, entry: Entry, limit: int) -> bytes:
        """A file's content.

        Raises:
            DeploymentFailed: ARTIFACT_TOO_LARGE: it is over `limit` bytes.
        """
        self._check_size(entry, limit)
        content = bytearray()
        self._run(["cat-file", "blob", entry.oid], [], content.extend)
        return bytes(content)

    def write_to(self, entry: Entry, target: Path, limit: int) -> None:
        """Write a file's content to a new file of mode 0644.

        Raises:
            DeploymentFailed: ARTIFACT_TOO_LARGE: it is over `limit` bytes.
            FileExistsError: there is something at `target`.
        """
        self._check_size(entry, limit)
        self.write_all([(entry, target)])

    def write_all(self, files: Sequence[tuple[Entry, Path]]) -> None:
        """Write files whose sizes were checked, with one git process.

        Raises:
            FileExistsError: there is something at a target.
        """
        oids = [entry.oid for entry, _ in files]
        with BlobWriter([target for _, target in files]) as writer:
            self._run(["cat-file", "--batch", "--buffer"], oids, writer.feed)

    def close(self) -> None:
        """Let the mirror be deleted."""
        self._mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_size(self, entry: Entry, limit: int) -> None:
        size = self.sizes([entry])[entry.oid]
        if size is None or size > limit:
            raise too_large(entry.path, size, limit)

    def _left_out(self) -> set[str]:
        # Some versions' `cat-file` (2.39) dies when asked for a blob that is not here.
        arguments = ["rev-list", "--objects", "--no-object-names", "--missing=print"]
        output = self._output([*arguments, "--max-count=1", "--end-of-options", self.commit], [])
        return {line[1:] for line in output.splitlines() if line.startswith("?")}

    def _output(self, arguments: Sequence[str], oids: Sequence[str]) -> str:
        output = bytearray()

        def take(chunk: bytes) -> None:
            output.extend(chunk)
            if len(output) > _MOST_OUTPUT:
                raise too_many_files("", _MOST_FILES)

        self._run(arguments, oids, take)
        return output.decode()

    def _run(
        self, arguments: Sequence[str], oids: Sequence[str], sink: Callable[[bytes], object]
    ) -> None:
        budget = self._budget.renewed(self._timeout)
        with tempfile.TemporaryFile() as stdin:
            stdin.write("".join(f"{oid}\n" for oid in oids).encode())
            stdin.seek(0)
            try:
                run_git(arguments, budget, git_dir=self._mirror.git_dir, sink=sink, stdin=stdin)
            except (GitFailed, OutOfTime) as error:
                self._mirror.mark_broken()
                raise Unavailable(
                    "the local copy of the repository is broken; it is fetched anew",
                    reason="MIRROR_BROKEN",
                ) from error


def _parse(record: bytes) -> Entry:
    meta, _, path = record.partition(b"\t")
    mode, kind, oid = meta.decode().split(" ")
    return Entry(path.decode(errors="surrogateescape"), mode, kind, oid)
