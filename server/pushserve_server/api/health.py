"""Health: `grpc.health.v1` for the whole server (""), each service, and each model by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from grpc_health.v1 import health_pb2

from pushserve_server.api.transport.call import Call
from pushserve_server.errors import NotFound

SERVICE: Final[Any] = health_pb2.DESCRIPTOR.services_by_name["Health"]

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_MOST_LISTED: Final = 100
"""`List` is for people and tools that look around: its answer is small, as the contract asks."""


class Health:
    """The health servicer, kept in step with the routing table. Lives on one event loop."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = ("", *services)
        self._shown: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._draining = False

    def show(self, models: Mapping[str, bool | None], *, has_begun: bool = True) -> None:
        """Say whether the server takes calls, and which of these models do; None is one gone.

        It does once what is loaded at its start is there.
        """
        if self._draining:
            return
        before = dict(self._shown)
        for name in self._services:
            self._shown[name] = _SERVING if has_begun else _NOT_SERVING
        for name, ready in models.items():
            if ready is None:
                self._shown.pop(name, None)
            else:
                self._shown[name] = _SERVING if ready else _NOT_SERVING
        if before != self._shown:
            self._wake()

    def drain(self) -> None:
        """Say that nothing is served any more; nothing changes after that."""
        self._draining = True
        self._shown = dict.fromkeys(self._shown, _NOT_SERVING)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> health_pb2.HealthCheckResponse:
        """Give the status of one service or model.

        Raises:
            NotFound: there is none of that name, as the contract asks.
        """
        status = self._shown.get(request.service)
        if status is None:
            raise NotFound(
                "service",
                request.service,
                f"no service or model is called {request.service[:200]!r}; List names them",
            )
        return health_pb2.HealthCheckResponse(status=status)

    async def List(
        self, request: health_pb2.HealthListRequest, call: Call
    ) -> health_pb2.HealthListResponse:
        """Give the status of all services, and of the first models by name."""
        names = [*self._services, *sorted(self._shown.keys() - set(self._services))]
        response = health_pb2.HealthListResponse()
        for name in names[:_MOST_LISTED]:
            status = self._shown.get(name, _NOT_SERVING)
            response.statuses[name].CopyFrom(health_pb2.HealthCheckResponse(status=status))
        return response

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Send the status of one service or model, and then each change, for ever."""
        sent: int | None = None
        while True:
            changed, status = self._changed, self._shown.get(request.service, _UNKNOWN)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status)
                sent = status
                continue  # it may have changed meanwhile
            if self._draining:
                return
            await changed.wait()
