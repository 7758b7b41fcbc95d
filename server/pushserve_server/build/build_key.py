"""Build key: what a bundle is made of; of two builds with one key the second is not needed.

A commit says too much: every push to a repository of many models changes it, and one folder. A
folder's files say too little: the same files give another bundle in another environment.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from typing import Final

from pushserve_server.domain.records import Trust
from pushserve_server.settings import Settings

_FORMAT: Final = 1
_SETTINGS: Final = ("skops_trusted_types", "max_artifact", "build_timeout", "sandbox_memory")
"""Those by which a build may end in another way."""


def build_key(files: Iterable[tuple[str, str]], trust: Trust, settings: Settings) -> str:
    """Give the key (SHA-256 in hex) of a folder: of its files' names in it and Git's object ids.

    Everything else that a build depends on is part of it: how far the source is trusted, the
    settings, Python and all installed packages, the server's own among them.
    """
    parts = {
        "format": _FORMAT,
        "files": sorted(files),
        "trust": str(trust),
        "settings": {name: getattr(settings, name) for name in _SETTINGS},
        "environment": _environment(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


@cache
def _environment() -> str:
    """Name Python and every package with their versions."""
    packages = sorted(f"{found.name}=={found.version}" for found in distributions())
    return "\n".join([sys.version, *packages])
