"""gRPC server: made for one frontend, with all its services."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api.handlers import generic_handler
from pushserve_server.api.health import Health
from pushserve_server.api.predict_dispatch import PredictDispatcher
from pushserve_server.api.reflection import Symbols
from pushserve_server.api.servicer import ModelService
from pushserve_server.api.transport.core_calls import start_stream, start_unary
from pushserve_server.api.transport.core_server import OPTIONS, CoreTransport, StartCall
from pushserve_server.settings import Settings

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["ModelService"]
MODEL_SERVICE: Final = _SERVICE.full_name
_HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


def make_health() -> Health:
    """Make the health of a frontend, which serves nothing yet."""
    return Health((MODEL_SERVICE,))


FAST_PATH_METHODS: Final[dict[str, StartCall]] = {
    "Predict": start_unary,
    "PredictStream": start_stream,
}
"""The methods that the core transport carries."""


def make_server(
    settings: Settings,
    service: ModelService,
    predicting: PredictDispatcher,
    health: Health,
    address: str,
) -> tuple[grpc.aio.Server, CoreTransport]:
    """Make a server that listens on `address` together with the other frontends.

    The core transport has to be started after the server, and closed after it.

    Raises:
        RuntimeError: the port cannot be had.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", settings.max_request),
            ("grpc.max_send_message_length", -1),
            *OPTIONS,
        ],
    )
    server.add_generic_rpc_handlers(
        (generic_handler(service, _SERVICE, except_methods=FAST_PATH_METHODS),)
    )
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection(
        (MODEL_SERVICE, _HEALTH, reflection.SERVICE_NAME),
        server,
        Symbols(descriptor_pool.Default()),
    )
    server.add_insecure_port(address)
    return server, CoreTransport(
        server,
        {f"/{MODEL_SERVICE}/{m}": FAST_PATH_METHODS[m] for m in FAST_PATH_METHODS},
        predicting,
    )
