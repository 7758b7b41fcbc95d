"""Profile: a file that says which server the command calls, and by which token.

[pushserve]
server = models.example.com:443
ca = /etc/ssl/acme.pem
token = psv_…
"""

import configparser
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Optional

from pushserve_client.errors import BadArgument

_SECTION: Final = "pushserve"
_NAMES: Final = ("server", "tls", "ca", "certificate", "key", "token")
_MOST: Final = 64 * 1024


@dataclass(frozen=True)
class Profile:
    """What it says; None is nothing."""

    server: Optional[str] = None
    tls: bool = False
    ca: Optional[Path] = None
    certificate: Optional[Path] = None
    key: Optional[Path] = None
    token: Optional[str] = None

    def __repr__(self) -> str:
        """Name the server alone: the token is in no log."""
        return f"Profile(server={self.server!r})"


def read_profile(path: Optional[Path]) -> Profile:
    """Read a profile; without a path, the one in the user's configuration, if there is one.

    Raises:
        BadArgument: it cannot be read, is open to others, or holds something else. The text
            shows nothing of it.
    """
    file = path or _default_path()
    if path is None and not file.exists():
        return Profile()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read(file))
    except configparser.Error:
        raise BadArgument(
            f"profile: {file} has another form than [{_SECTION}] and lines name = value"
        ) from None
    values = dict(parser[_SECTION]) if parser.has_section(_SECTION) else {}
    unknown = sorted(set(values) - set(_NAMES))
    if unknown:
        raise BadArgument(f"profile: {file}: {unknown[0]!r} is none of {', '.join(_NAMES)}")
    return _profile(file, values)


def _default_path() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")  # noqa: PTH111, PTH118 (it takes no home for none)
    return Path(folder, "pushserve", "profile")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            data = opened.read(_MOST)
    except OSError as error:
        raise BadArgument(f"profile: {file} cannot be read: {error.strerror}") from None
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        raise BadArgument(f"profile: {file} is open to others than its owner; chmod 600 {file}")
    return data.decode(errors="replace")


def _profile(file: Path, values: dict[str, str]) -> Profile:
    def path(name: str) -> Optional[Path]:
        return file.parent / Path(values[name]).expanduser() if values.get(name) else None

    tls = values.get("tls", "false").lower()
    if tls not in ("true", "false"):
        raise BadArgument(f"profile: {file}: tls is true or false")
    return Profile(
        server=values.get("server") or None,
        tls=tls == "true",
        ca=path("ca"),
        certificate=path("certificate"),
        key=path("key"),
        token=values.get("token") or None,
    )
