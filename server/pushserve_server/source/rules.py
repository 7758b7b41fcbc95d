"""Source rules: which sources the operator allows, and with which trust."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pushserve_server.errors import BadInput, SourceRefused
from pushserve_server.settings import ConfigError, SourceRule
from pushserve_server.source.urls import CloneUrl, normalize_url, parse_url, repository_key

__all__ = ["check_rules", "find_rule", "normalize_url", "repository_key"]


def find_rule(url: str, rules: Sequence[SourceRule]) -> SourceRule:
    """The first rule whose pattern the URL matches, both in their canonical spelling.

    A ".git" at the end makes no difference. `*` never crosses a "/", nor the end of the host.

    Raises:
        BadInput: `url` is no clone URL.
        SourceRefused: no rule matches; the text holds the lines that would list the source.
        ConfigError: a rule is no pattern.
    """
    parts = parse_url(url)
    for rule in rules:
        if _matches(parts, _parse_pattern(rule.url)):
            return rule
    raise SourceRefused(
        f"{parts} is not in this server's list of sources. To serve it, its operator adds to the "
        f'configuration file:\n\n[[sources]]\nurl = "{parts}"\ntrust = "data"\n\n'
        '(trust = "code" if the repository holds pickles or a predict.py)'
    )


def check_rules(rules: Sequence[SourceRule]) -> None:
    """Read every pattern once, at start.

    Raises:
        ConfigError: with one line for each rule that is no pattern.
    """
    mistakes = []
    for rule in rules:
        try:
            _parse_pattern(rule.url)
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _parse_pattern(pattern: str) -> CloneUrl:
    try:
        parts = parse_url(pattern, pattern=True)
    except BadInput as error:
        raise ConfigError(f"sources: {error.message}") from None
    if "**" in parts.host or "**" in parts.path.removesuffix("/**"):
        raise ConfigError(
            f'sources: {str(parts)!r}: "**" stands only at the end, after a "/"; '
            'write "*" for anything but "/"'
        )
    return parts


def _matches(url: CloneUrl, pattern: CloneUrl) -> bool:
    return (
        (url.scheme, url.user, url.port) == (pattern.scheme, pattern.user, pattern.port)
        and _glob(pattern.host).fullmatch(url.host) is not None
        and _glob(pattern.repository).fullmatch(url.repository) is not None
    )


def _glob(pattern: str) -> re.Pattern[str]:
    everything_below = pattern.endswith("/**")
    parts = pattern.removesuffix("**").split("*")
    return re.compile("[^/]*".join(map(re.escape, parts)) + (".+" if everything_below else ""))
