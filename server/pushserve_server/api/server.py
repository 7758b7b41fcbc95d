"""gRPC server: the pipeline of one frontend, with the methods of all its services."""

from __future__ import annotations

from typing import Any, Final

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.access.guard import Guard
from pushserve_server.api import health as health_service
from pushserve_server.api import reflection
from pushserve_server.api.call_pipeline import PROBES, WATCHES, Pipeline
from pushserve_server.api.doors.model_service import decode_predict, decode_stream_item
from pushserve_server.api.doors.stream_messages import ENVELOPE
from pushserve_server.api.health import Health
from pushserve_server.api.predict_dispatch import PredictDispatcher
from pushserve_server.api.servicer import ModelService
from pushserve_server.api.servicer_methods import methods_of
from pushserve_server.api.transport.call import Method
from pushserve_server.settings import Settings

_SERVICE: Final[Any] = pb.DESCRIPTOR.services_by_name["ModelService"]
MODEL_SERVICE: Final[str] = _SERVICE.full_name

PREDICT_METHODS: Final = ("Predict", "PredictStream")
"""Those that have a door, and the dispatcher behind it; the servicer has the others."""

_PREDICT, _CONTROL, _STREAMS = "predict", "control", "streams"


def limits(settings: Settings) -> dict[str, int]:
    """Give how many calls of each group one frontend works on at a time."""
    return {
        _PREDICT: settings.max_concurrent,
        _CONTROL: settings.max_control_calls,
        _STREAMS: settings.max_open_streams,
        WATCHES: settings.max_open_streams,
        # Health checks come from machines, many of them, and must not fail for other calls.
        PROBES: settings.max_open_streams,
    }


def make_health() -> Health:
    """Make the health of a frontend, which serves nothing yet."""
    return Health((MODEL_SERVICE,))


def make_pipeline(
    settings: Settings,
    service: ModelService,
    predict: PredictDispatcher,
    health: Health,
    guard: Guard,
) -> Pipeline:
    """Make the pipeline of a frontend, with the methods of every service on the port."""
    pipeline = Pipeline(limits(settings), guard)
    pipeline.add(_predict_methods(predict))
    pipeline.add(methods_of(service, _SERVICE, _CONTROL, WATCHES, except_methods=PREDICT_METHODS))
    pipeline.add(methods_of(health, health_service.SERVICE, PROBES, PROBES))

    def services() -> set[str]:
        return {method.split("/")[1] for method in pipeline.names()}

    for version in reflection.SERVICES:
        servicer = reflection.Reflection(version, services)
        pipeline.add(methods_of(servicer, version, PROBES, PROBES))
    return pipeline


def _predict_methods(predict: PredictDispatcher) -> list[Method]:
    stream = f"/{MODEL_SERVICE}/PredictStream"
    item = Method(
        f"{stream} (request)", _PREDICT, batch=predict, decode=decode_stream_item, envelope=ENVELOPE
    )
    return [
        Method(f"/{MODEL_SERVICE}/Predict", _PREDICT, batch=predict, decode=decode_predict),
        Method(stream, _STREAMS, items=item),
    ]
