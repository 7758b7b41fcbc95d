"""Registry: the only state there is, behind one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pushserve_server.registry.activation import Activation
from pushserve_server.registry.clock import Clock
from pushserve_server.registry.database import RegistryDatabase
from pushserve_server.registry.deployments import Deployments
from pushserve_server.registry.frontends import Frontends
from pushserve_server.registry.issued_tokens import IssuedTokens
from pushserve_server.registry.leasing import Leases
from pushserve_server.registry.models import Models
from pushserve_server.registry.pinning import Pinning
from pushserve_server.registry.serving import ServingState


class Registry(
    Deployments, Leases, Activation, Models, Pinning, ServingState, Frontends, IssuedTokens
):
    """Every read and write of the registry, each in one transaction.

    Calls block, and may come from any thread. What they return is on disk. Every one of
    them raises `Unavailable` where the database cannot be used.
    """

    def __init__(self, store: RegistryDatabase) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, clock: Clock | None = None) -> Self:
        """Open the database and bring its schema up to date.

        Args:
            url: "sqlite:///path" (four slashes before an absolute path; the file is made,
                for its owner alone) or "postgresql://user:password@host/name".
            clock: Takes the place of the database's own (`clock.py`).

        Raises:
            ValueError: the URL has another form.
            Unavailable: the database cannot be reached.
        """
        return cls(RegistryDatabase.open(url, clock))

    def when_changed(self, act: Callable[[], None]) -> None:
        """Have `act` called after each change that others have to hear of, by whoever made it.

        Not for heartbeats that carry no news.
        """
        self._store.on_change = act

    def close(self) -> None:
        """Close every connection. No call may be under way."""
        self._store.close()
