"""Requirements: whether a `requirements.txt` is met by the server's own environment.

Environments per version come later; until then a model is served by the packages that the
server has, and a line that they do not meet is refused rather than hoped for.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from pushserve_server.errors import DeploymentFailed

_MAX_LINES: Final = 2000
_SHOWN: Final = 30
_HASH = re.compile(r"\s--hash=\S+")
_USERINFO = re.compile(r"//[^/@\s]*@")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One line that does not hold, why, and the line that would (empty: none would)."""

    line: str
    why: str
    instead: str = ""


def check_requirements(content: bytes) -> None:
    """Check every line.

    Raises:
        DeploymentFailed: REQUIREMENTS_NOT_SATISFIED, naming each line that differs and what
            is installed.
    """
    mismatches = [m for line in _lines(content) for m in _check_line(line)]
    if not mismatches:
        return
    shown = "\n".join(f"{m.line}: {m.why}" for m in mismatches[:_SHOWN])
    more = f"\nand {len(mismatches) - _SHOWN} more" if len(mismatches) > _SHOWN else ""
    lines = [m.instead for m in mismatches if m.instead]
    instead = ", with these lines:\n" + "\n".join(lines[:_SHOWN]) if lines else ""
    raise DeploymentFailed(
        "REQUIREMENTS_NOT_SATISFIED",
        f"the server's environment does not meet requirements.txt:\n{shown}{more}",
        f"Train and save the model with the packages that the server has{instead}\n"
        "A line that the model does not need can be removed.",
    )


def _lines(content: bytes) -> Iterator[str]:
    text = _decode(content).replace("\\\r\n", " ").replace("\\\n", " ")
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise DeploymentFailed(
            "REQUIREMENTS_NOT_SATISFIED",
            f"requirements.txt has {len(lines)} lines; at most {_MAX_LINES} are read",
            "List only the packages that the model needs.",
        )
    for raw in lines:
        # The packages are installed already: there is no download that a hash could vouch for.
        line = _HASH.sub("", _COMMENT.sub("", raw)).strip()
        if line:
            yield line


def _decode(content: bytes) -> str:
    # PowerShell's `pip freeze > requirements.txt` writes UTF-16.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _check_line(line: str) -> Iterator[Mismatch]:
    if line.startswith("-"):
        option = line.split(maxsplit=1)[0]
        yield Mismatch(option, "options are not read; only packages with versions are")
        return
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        yield Mismatch(_USERINFO.sub("//", line), 'not a requirement such as "scikit-learn>=1.9"')
        return
    if requirement.url is not None:
        yield Mismatch(requirement.name, "packages from addresses are not installed")
    elif requirement.marker is None or requirement.marker.evaluate():
        yield from _check_installed(line, requirement)


def _check_installed(line: str, requirement: Requirement) -> Iterator[Mismatch]:
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        yield Mismatch(line, "not installed")
        return
    if not requirement.specifier.contains(found.version, prereleases=True):
        right = f"{requirement.name}=={found.version}"
        yield Mismatch(line, f"{found.version} is installed", right)
        return
    for extra in sorted(requirement.extras):
        yield from _check_extra(line, found, extra)


def _check_extra(line: str, found: Distribution, extra: str) -> Iterator[Mismatch]:
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            continue  # installed with the package itself
        if needed.marker.evaluate({"extra": extra}):
            yield from _check_installed(f"{line} (needs {needed.name})", needed)
