"""Loading rules: which versions are loaded, by whom, and which are unloaded for others.

| who needs a version       | where that stands                      | graphs            | workers |
|---------------------------|----------------------------------------|-------------------|---------|
| a deployment under way    | `Snapshot.deploying`                   | loaded            | run     |
| a caller, lately          | `Snapshot.kept_alive`: a keep-alive    | loaded            | run     |
|                           | request, renewed while calls come      |                   |         |
| a ref or a pin            | `Snapshot.referenced`                  | stay, while there | no      |
|                           |                                        | is memory         |         |
| the operator, at start    | settings `preload` and `preload_limit` | loaded            | run     |
| nobody                    |                                        | unloaded          | stopped |

A keep-alive request by a ref counts as long as the ref points there; one for a version by its
number or commit expires after `idle_unload`. Where memory is short, those not called for the
longest time go (`evictions`), and the next call brings them back.
"""

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
    """Give the ids of what the default refs of the first models point to, at most `limit`.

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


@dataclass(frozen=True, slots=True)
class Use:
    """What one loaded version takes. `size` is in bytes, `called_at` grows with time.

    `busy` says that it has calls in flight, `fixed` that it has to stay.
    """

    version_id: int
    size: int
    called_at: float
    busy: bool = False
    fixed: bool = False


def evictions(uses: Iterable[Use], limit: int) -> list[int]:
    """Choose which to unload so that the rest takes at most `limit` bytes.

    Those not called for the longest time go first, and those with calls in flight only
    when nothing else is left. The one that was called last stays, whatever it takes:
    a version that fits nowhere is served alone.
    """
    uses = list(uses)
    excess = sum(use.size for use in uses) - limit
    newest = max(uses, key=lambda use: use.called_at, default=None)
    chosen = []
    for use in sorted(uses, key=lambda use: (use.busy, use.called_at)):
        if excess <= 0:
            break
        if not use.fixed and use is not newest:
            chosen.append(use.version_id)
            excess -= use.size
    return chosen
