"""Requirements: whether a `requirements.txt` is met by the server's own environment.

Environments per version come later; until then a model is served by the packages that the
server has, and a line that they do not meet is refused rather than hoped for.
"""

from __future__ import annotations

import codecs
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pushserve_runtime.build_error import printable
from pushserve_server.errors import DeploymentFailed

MAX_BYTES: Final = 1024**2
"""Most of it are hashes, where there are any; what is left is read in time linear to it."""
_MAX_LINES: Final = 2000
_MAX_LINE: Final = 4096
_MAX_READ: Final = 256 * 1024
_SHOWN: Final = 30
_ALSO: Final = {
    "sklearn": ("scikit-learn",),
    "xgboost": ("xgboost-cpu",),
    "xgboost-cpu": ("xgboost",),
    "onnxruntime-gpu": ("onnxruntime",),
    "psycopg2": ("psycopg2-binary",),
}
"""Under which other names the modules of a package are installed."""
_TOOLS: Final = frozenset(
    {
        *("jupyter", "jupyterlab", "notebook", "ipykernel", "ipywidgets", "jupyter-client"),
        *("jupyter-core", "nbconvert", "nbformat", "nbclient", "jupyter-console"),
        *("black", "ruff", "flake8", "isort", "mypy", "pre-commit", "pylint", "pytest"),
        *("pip", "wheel", "setuptools", "uv"),
    }
)
"""What people train with and no model imports. One that does is refused when it is loaded."""
_SOURCES: Final = frozenset(
    {
        *("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host"),
        *("--no-index", "--no-binary", "--only-binary", "--prefer-binary", "--pre"),
        *("--require-hashes", "--use-feature", "--config-settings", "--global-option"),
    }
)
_HASH = re.compile(r"\s--hash=\S+")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One line that does not hold, why, and the line that would (empty: none would)."""

    line: str
    why: str
    instead: str = ""


def check_requirements(content: bytes) -> None:
    """Check every line; of a longer file, `content` may end after `MAX_BYTES` + 1 bytes.

    Raises:
        DeploymentFailed: REQUIREMENTS_NOT_SATISFIED, naming each line that differs and what
            is installed.
    """
    checker = _Checker()
    mismatches = [m for line in _lines(content) for m in checker.check(line)]
    if not mismatches:
        return
    shown = "\n".join(f"{printable(m.line)}: {m.why}" for m in mismatches[:_SHOWN])
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
    """Give what the lines hold, without comments and hashes."""
    if len(content) > MAX_BYTES:
        raise _too_much(f"has more than {MAX_BYTES:,} bytes, which are not read")
    lines = _joined(_decode(content))
    if len(lines) > _MAX_LINES:
        raise _too_much(f"has {len(lines):,} lines; at most {_MAX_LINES:,} are read")
    total = 0
    for number, raw in lines:
        # The packages are installed already: there is no download that a hash could vouch for.
        line = _HASH.sub("", _COMMENT.sub("", raw)).strip()
        total += len(line)
        if len(line) > _MAX_LINE:
            raise _too_much(f"has {len(line):,} characters in line {number}, over {_MAX_LINE:,}")
        if total > _MAX_READ:
            raise _too_much(f"has more than {_MAX_READ:,} characters up to line {number}")
        if line:
            yield line


def _joined(text: str) -> list[tuple[int, str]]:
    """Give each line with its number; those that end in a backslash with what follows."""
    joined, first, parts = [], 0, list[str]()
    for number, raw in enumerate(text.splitlines(), start=1):
        first = first or number
        parts.append(raw.removesuffix("\\"))
        if not raw.endswith("\\"):
            joined.append((first, " ".join(parts)))
            first, parts = 0, []
    return [*joined, (first, " ".join(parts))] if parts else joined


def _too_much(what: str) -> DeploymentFailed:
    return DeploymentFailed(
        "REQUIREMENTS_NOT_SATISFIED",
        f"requirements.txt {what}",
        "List only the packages that the model needs, one a line.",
    )


def _decode(content: bytes) -> str:
    # PowerShell's `pip freeze > requirements.txt` writes UTF-16.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


class _Checker:
    """Checks lines of one file; looks at each extra of each package once."""

    def __init__(self) -> None:
        self._extras_seen: set[tuple[str, str]] = set()

    def check(self, line: str) -> Iterator[Mismatch]:
        """Give what does not hold of a line."""
        if line.startswith("-"):
            yield from _check_option(line)
            return
        try:
            requirement = Requirement(line)
            holds_here = requirement.marker is None or requirement.marker.evaluate()
        except InvalidRequirement:
            yield Mismatch(_without_user(line), 'not a requirement such as "scikit-learn>=1.9"')
            return
        except (ValueError, RecursionError) as error:  # long numbers, deep parentheses
            yield Mismatch(_without_user(line), f"cannot be read: {printable(str(error), 100)}")
            return
        if requirement.url is not None:
            yield Mismatch(requirement.name, "packages from addresses are not installed")
        elif holds_here:
            yield from self._check_installed(line, requirement)

    def _check_installed(self, line: str, requirement: Requirement) -> Iterator[Mismatch]:
        name = canonicalize_name(requirement.name)
        if name == "python":
            yield from _check_python(line, requirement)
            return
        found = _distribution(name)
        if found is None:
            if name not in _TOOLS:
                yield Mismatch(line, "not installed")
            return
        if not requirement.specifier.contains(found.version, prereleases=True):
            right = f"{found.name}=={found.version}"
            yield Mismatch(line, f"{found.version} is installed", right)
            return
        yield from self._check_extras(line, found, requirement.extras)

    def _check_extras(self, line: str, found: Distribution, extras: set[str]) -> Iterator[Mismatch]:
        known = map(canonicalize_name, found.metadata.get_all("Provides-Extra") or ())
        asked = {canonicalize_name(extra) for extra in extras} & set(known)
        new = {(found.name, extra) for extra in asked} - self._extras_seen
        if not new:
            return
        self._extras_seen |= new
        needs = [Requirement(text) for text in found.requires or ()]
        for _, extra in sorted(new):
            for needed in _needed_by(extra, needs):
                yield from self._check_installed(f"{line} (needs {needed.name})", needed)


def _check_option(line: str) -> Iterator[Mismatch]:
    """Leave out where packages come from and how they are built: they are installed already."""
    option = re.split(r"[\s=]", line, maxsplit=1)[0]
    if option in ("-r", "--requirement", "-c", "--constraint"):
        yield Mismatch(option, "other files are not read; write their lines here instead")
    elif option in ("-e", "--editable"):
        yield Mismatch(option, "packages are not installed from folders; commit what is imported")
    elif option not in _SOURCES:
        yield Mismatch(option, "this option is not known; only packages with versions are read")


def _check_python(line: str, requirement: Requirement) -> Iterator[Mismatch]:
    version = platform.python_version()
    if not requirement.specifier.contains(version, prereleases=True):
        yield Mismatch(line, f"the server runs Python {version}")


def _distribution(name: str) -> Distribution | None:
    """Find what is installed by this name, or by another that the same modules come by."""
    for known in (name, *_ALSO.get(name, ())):
        with suppress(PackageNotFoundError):
            return distribution(known)
    return None


def _needed_by(extra: str, needs: list[Requirement]) -> Iterator[Requirement]:
    """Give what an extra needs and the package itself does not."""
    for needed in needs:
        marker = needed.marker
        if marker and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra}):
            yield needed


def _without_user(line: str) -> str:
    before, separator, rest = line.partition("//")
    return before + separator + rest.rpartition("@")[2]
