"""Requests: from arguments to messages. Pure functions, shared by both clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.from_messages import state_to_proto
from pushserve_client.input_messages import fill_inputs
from pushserve_client.types import DeploymentState


def _one_target(**targets: str | int | None) -> dict[str, Any]:
    """Give the target that is not None, as a message's keyword arguments."""
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"give one of {', '.join(targets)}, not {' and '.join(given)}")
    return given


def register_request(
    source: str, *, ref: str | None, commit: str | None, path: str, model: str, retry: bool
) -> pb.RegisterRequest:
    """Build a request to take a ref or a commit live."""
    target = _one_target(ref=ref, commit=commit)
    return pb.RegisterRequest(source=source, path=path, model=model, retry=retry, **target)


def get_request(
    model: str, *, ref: str | None, version: int | None, commit: str | None
) -> pb.GetRequest:
    """Build a request for one model."""
    return pb.GetRequest(model=model, **_one_target(ref=ref, version=version, commit=commit))


def pin_request(
    model: str, *, ref: str | None, version: int | None, commit: str | None
) -> pb.PinRequest:
    """Build a request to hold a ref on a version."""
    target = _one_target(version=version, commit=commit)
    return pb.PinRequest(model=model, ref=ref or "", **target)


def list_deployments_request(
    *, model: str, ref: str, state: DeploymentState | None, page_size: int
) -> pb.ListDeploymentsRequest:
    """Build a request for the first page of deployments."""
    return pb.ListDeploymentsRequest(
        model=model, ref=ref, state=state_to_proto(state), page_size=page_size
    )


def predict_request(
    model: str,
    inputs: Any,
    *,
    ref: str | None,
    version: int | None,
    commit: str | None,
    outputs: Sequence[str],
) -> pb.PredictRequest:
    """Build a request to predict; see `inputs.fill_inputs` for what `inputs` may be."""
    target = _one_target(ref=ref, version=version, commit=commit)
    request = pb.PredictRequest(model=model, outputs=list(outputs), **target)
    fill_inputs(request, inputs)
    return request


def predict_stream_requests(
    model: str, inputs: Iterable[Any], **target: Any
) -> Iterator[pb.PredictStreamRequest]:
    """Build the requests of a stream, as they are asked for."""
    for one in inputs:
        yield pb.PredictStreamRequest(request=predict_request(model, one, **target))
