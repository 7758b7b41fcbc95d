"""Model names: what a model is called where nobody said it."""

from __future__ import annotations

import re
from typing import Final

from pushserve_runtime.signature import MODEL_NAME
from pushserve_server.errors import DeploymentFailed

_LONGEST: Final = 63


def choose_name(
    *, asked: str, registered: str, manifest: str | None, path: str, source: str
) -> str:
    """Name a model: as asked, as registered, as in the manifest, after folder or repository.

    A manifest that contradicts the name is refused even where the name was asked for: the
    next push asks for none, and would find the same contradiction.

    Raises:
        DeploymentFailed: MODEL_RENAMED, the manifest's name is another one;
            MODEL_NAME_MISSING, no name can be made.
    """
    fixed = asked or registered
    if fixed and manifest and manifest != fixed:
        raise DeploymentFailed(
            "MODEL_RENAMED",
            f"the manifest calls the model {manifest}, and it is registered as {fixed}",
            f'Write name = "{fixed}" in pushserve.toml (or remove the line); to rename the '
            f"model, delete {fixed} on the server and register it again.",
        )
    name = fixed or manifest or slug(path.rpartition("/")[2]) or slug(_repository(source))
    if not name:
        raise DeploymentFailed(
            "MODEL_NAME_MISSING",
            "neither folder nor repository has a name that a model could have",
            'Write a name in pushserve.toml: name = "iris"',
        )
    return name


def slug(text: str) -> str:
    """Make a model's name of any text ("My Model!" gives "my-model"); "" where none is left."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:_LONGEST].strip("-._")
    return name if MODEL_NAME.fullmatch(name) else ""


def _repository(source: str) -> str:
    last = re.split(r"[/:]", source.rstrip("/"))[-1]
    return last.removesuffix(".git")
