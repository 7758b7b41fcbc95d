"""For hatchling: the distributions of this tree need each other at the one version they have.

What a distribution depends on stands in its pyproject.toml below this hook, because whatever is
not known before the version is read has to.
"""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    """Adds to `dependencies` those named in `same-version`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dependencies of the distribution that is built."""
        same = [f"{name}=={metadata['version']}" for name in self.config["same-version"]]
        metadata["dependencies"] = [*same, *self.config["dependencies"]]
