"""Routing: which loaded version answers for which model and ref; pure functions over values."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from pushserve_server.domain.records import ModelRoutes
from pushserve_server.domain.ref_names import full_names
from pushserve_server.serve.models.loaded_version import LoadedVersion


@dataclass(frozen=True, slots=True)
class RoutingEntry:
    """One model's endpoints: full ref name to the version's id, and what is loaded.

    `default` answers when no ref is named; None while it is not loaded. `stale` names the refs
    that an older version still answers for while the new one loads.
    """

    name: str
    default_ref: str
    targets: Mapping[str, int]
    loaded: Mapping[str, LoadedVersion]
    default: LoadedVersion | None
    stale: frozenset[str] = field(default=frozenset())

    def full_name(self, ref: str) -> str | None:
        """Resolve a short or full ref name; branches come before tags. "" is the default."""
        if not ref:
            return self.default_ref if self.default_ref in self.targets else None
        return next((name for name in full_names(ref) if name in self.targets), None)


RoutingTable = Mapping[str, RoutingEntry]


def build_entry(
    routes: ModelRoutes,
    live: Mapping[int, LoadedVersion],
    failed: Container[int],
    before: RoutingEntry | None,
) -> RoutingEntry:
    """Point every route to its version where that is loaded, else to what answered before.

    A route whose version has failed to load keeps its old version as well, but does not
    count as stale: nothing better will come. What was unloaded no longer answers.
    """
    loaded: dict[str, LoadedVersion] = {}
    stale = set()
    for route in routes.routes:
        if route.version_id in live:
            loaded[route.ref] = live[route.version_id]
            continue
        old = None if before is None else before.loaded.get(route.ref)
        if old is not None and old.version.id in live:
            loaded[route.ref] = old
            if route.version_id not in failed:
                stale.add(route.ref)
    return RoutingEntry(
        name=routes.name,
        default_ref=routes.default_ref,
        targets={route.ref: route.version_id for route in routes.routes},
        loaded=loaded,
        default=loaded.get(routes.default_ref),
        stale=frozenset(stale),
    )
