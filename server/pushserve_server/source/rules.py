"""Source rules: which sources the operator allows, and with which trust."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pushserve_server.errors import BadInput, SourceRefused
from pushserve_server.settings import ConfigError, SourceRule
from pushserve_server.source.spellings import known_spelling, respelt, same_repository
from pushserve_server.source.urls import CloneUrl, normalize_url, parse_url

__all__ = ["allowed_spelling", "check_rules", "find_rule", "normalize_url"]

_SHOWN: Final = 300
"""Characters of a URL in a refusal, which names it twice: a call's error holds 1 KiB."""


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
    name = str(parts)  # canonical, so without a password
    name = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
    raise SourceRefused(
        f"{name} is not in this server's list of sources. To serve it, its operator adds to the "
        f'configuration file:\n\n[[sources]]\nurl = "{name}"\ntrust = "data"\n\n'
        '(trust = "code" if the repository holds pickles or a predict.py)'
    )


def allowed_spelling(url: str, rules: Sequence[SourceRule], known: Iterable[str] = ()) -> str:
    """Give the spelling of a repository that is used here, canonical.

    The one by which it is `known` already, else the URL's own where a rule matches that, else
    the first that a rule matches: an event says https where the operator has listed ssh.

    Raises:
        BadInput: `url` is no clone URL.
        SourceRefused: no rule matches any of these.
    """
    parts = parse_url(url)
    spelling = known_spelling(url, known)
    if spelling:
        find_rule(spelling, rules)
        return spelling
    if not any(_matches(parts, _parse_pattern(rule.url)) for rule in rules):
        for rule in rules:
            pattern = _parse_pattern(rule.url)
            other = respelt(parts, pattern)
            if same_repository(parts, other) and _matches(other, pattern):
                return str(other)
    find_rule(url, rules)
    return str(parts)


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
    first, *others = map(re.escape, pattern.removesuffix("**").split("*"))
    if not others:
        return re.compile(first + (".+" if everything_below else ""))
    # The first place where a part fits is as good as any later one, so none is given up again:
    # with several "*", trying them all would take time as a power of the URL's length.
    between = "".join(f"(?>[^/]*?{part})" for part in others[:-1])
    last = f"(?>[^/]*?{others[-1]}).+" if everything_below else f"[^/]*{others[-1]}"
    return re.compile(first + between + last)
