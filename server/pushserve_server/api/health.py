"""Health: `grpc.health.v1` for the whole server (""), each service, and each model by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_STATUS: Final = {True: _SERVING, False: _NOT_SERVING, None: _UNKNOWN}


class Health:
    """Keeps the health servicer in step with the routing table."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self.servicer = health_aio.HealthServicer()
        self._services = ("", *services)
        self._shown: dict[str, int] = {}

    async def show(self, models: Mapping[str, bool | None]) -> None:
        """Say that the server takes calls, and which of these models do; None is one gone."""
        wanted = dict.fromkeys(self._services, _SERVING)
        for name, ready in models.items():
            wanted[name] = _STATUS[ready]
        for name, status in wanted.items():
            if self._shown.get(name, _UNKNOWN) != status:
                await self.servicer.set(name, status)
                self._shown[name] = status
            if status == _UNKNOWN:
                self._shown.pop(name, None)

    async def drain(self) -> None:
        """Say that nothing is served any more; nothing changes after that."""
        await self.servicer.enter_graceful_shutdown()
