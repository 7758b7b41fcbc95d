"""File stamp: what tells one state of a file from another, without reading it."""

from __future__ import annotations

from pathlib import Path

FileStamp = tuple[int, ...]


def file_stamp(path: Path) -> FileStamp:
    """Give device, inode, size and times (ns) of the file there; () where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
