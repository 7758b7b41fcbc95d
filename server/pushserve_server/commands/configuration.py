"""`pushserve config`: the configuration as it is in effect, as TOML with each setting's origin."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from pushserve_client.cli import screen
from pushserve_server.config import load_settings
from pushserve_server.settings import (
    HIDDEN,
    HIDDEN_TEXT,
    ConfigError,
    Settings,
    SourceRule,
    without_password,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, its value with secrets hidden, and where it is from."""

    name: str
    value: Any
    origin: str


def main(*, as_json: bool) -> int:
    """Print every setting; gives the exit code."""
    try:
        settings = load_settings()
    except ConfigError as error:
        screen.fail("the configuration is wrong", str(error))
        return 1
    found = effective(settings)
    if as_json:
        screen.print_json({s.name: {"value": s.value, "origin": s.origin} for s in found})
        return 0
    for setting in found:
        screen.say(f"{setting.name} = {_toml(setting.value)}  # {setting.origin}")
    return 0


def effective(settings: Settings) -> list[Setting]:
    """Give every setting in the order of its declaration."""
    in_file = _names_in_file()
    return [
        Setting(field.name, _shown(field, settings), _origin(field.name, in_file))
        for field in fields(settings)
    ]


def _names_in_file() -> frozenset[str]:
    path = os.environ.get("PUSHSERVE_CONFIG")
    if not path:
        return frozenset()
    return frozenset(tomllib.loads(Path(path).read_text(encoding="utf-8")))


def _origin(name: str, in_file: frozenset[str]) -> str:
    variable = f"PUSHSERVE_{name.upper()}"
    if variable in os.environ:
        return f"environment {variable}"
    if name == "database_url" and os.environ.get("DATABASE_URL"):
        return "environment DATABASE_URL"
    return f"file {os.environ['PUSHSERVE_CONFIG']}" if name in in_file else "default"


def _shown(field: Field[Any], settings: Settings) -> Any:
    name, value = field.name, getattr(settings, field.name)
    if name == "database_url":
        return without_password(settings.database)
    if HIDDEN in field.metadata:
        return HIDDEN_TEXT if value else ""
    if name == "sources":
        return [_rule(rule) for rule in value]
    return str(value) if isinstance(value, Path) else value


def _rule(rule: SourceRule) -> dict[str, Any]:
    globs = {"refs": list(rule.refs), "paths": list(rule.paths)}
    given = {name: value for name, value in globs.items() if value}
    return {"url": without_password(rule.url), "trust": rule.trust, **given}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
