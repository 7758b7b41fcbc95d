"""Which versions are loaded before anybody calls them: the operator's rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pushserve_server.domain.records import ModelRoutes


@dataclass(frozen=True, slots=True)
class PreloadRule:
    """The models to load at start: names in which `*` and `?` stand for others, and how many."""

    patterns: tuple[str, ...]
    limit: int


def preloads(models: Iterable[ModelRoutes], rule: PreloadRule) -> list[int]:
    """Give the ids of what the default refs of the first models lead to, at most `limit`.

    Models that an earlier pattern names come before those of a later one.
    """
    named = [(model, _rank(model.name, rule.patterns)) for model in models]
    ranked = sorted(((rank, model) for model, rank in named if rank is not None), key=_by_rank)
    chosen: dict[int, None] = {}
    for _, model in ranked:
        if len(chosen) >= rule.limit:
            break
        for route in model.routes:
            if route.ref == model.default_ref:
                chosen[route.version_id] = None
    return list(chosen)


def _rank(name: str, patterns: Iterable[str]) -> int | None:
    return next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), None)


def _by_rank(item: tuple[int, ModelRoutes]) -> int:
    return item[0]
