"""Requests: from arguments to messages. Pure functions, shared by both clients.

An argument that no message can hold is a `BadArgument`, which names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadArgument
from pushserve_client.from_messages import state_to_proto
from pushserve_client.input_messages import fill_sendable
from pushserve_client.types import DeploymentState
from pushserve_client.unsent_columns import UnsentColumns

M = TypeVar("M")


def message_of(kind: type[M], **fields: Any) -> M:
    """Build a message of arguments; those that are None are left out.

    Raises:
        BadArgument: one is of a type, or has a value, that its field does not take.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise BadArgument(_culprit(kind, given)) from error


def _culprit(kind: type[Any], given: dict[str, Any]) -> str:
    for name, value in given.items():
        try:
            kind(**{name: value})
        except (TypeError, ValueError):
            field = kind.DESCRIPTOR.fields_by_name[name]
            wanted = "text" if field.type == field.TYPE_STRING else "a whole number from 0 to 2**31"
            shown = repr(value)
            return f"{name}: expected {wanted}, got {shown if len(shown) < 60 else type(value)}"
    return f"{', '.join(given)} do not go together"


def seconds(timeout: float | None) -> float | None:
    """Give a timeout in seconds as gRPC takes it; None, and infinity, have no end.

    Raises:
        BadArgument: it is no number of seconds.
    """
    if timeout is None:
        return None
    try:
        given = float(timeout)
    except (TypeError, ValueError, OverflowError):
        given = float("nan")
    if isinstance(timeout, str) or not given >= 0:
        raise BadArgument(f"timeout: expected seconds, got {timeout!r}")
    return None if given > 1e9 else given


def _one_target(**targets: str | int | None) -> dict[str, Any]:
    """Give the target that is not None, as a message's keyword arguments."""
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) > 1:
        raise BadArgument(f"give one of {', '.join(targets)}, not {' and '.join(given)}")
    return given


def register_request(
    source: str, *, ref: str | None, commit: str | None, path: str, model: str, retry: bool
) -> pb.RegisterRequest:
    """Build a request to take a ref or a commit live."""
    target = _one_target(ref=ref, commit=commit)
    return message_of(
        pb.RegisterRequest, source=source, path=path, model=model, retry=bool(retry), **target
    )


def list_request(*, prefix: str, source: str, page_size: int) -> pb.ListRequest:
    """Build a request for the first page of models."""
    return message_of(pb.ListRequest, name_prefix=prefix, source=source, page_size=page_size)


def get_request(
    model: str, *, ref: str | None, version: int | None, commit: str | None
) -> pb.GetRequest:
    """Build a request for one model."""
    target = _one_target(ref=ref, version=version, commit=commit)
    return message_of(pb.GetRequest, model=model, **target)


def pin_request(
    model: str, *, ref: str | None, version: int | None, commit: str | None
) -> pb.PinRequest:
    """Build a request to hold a ref on a version."""
    target = _one_target(version=version, commit=commit)
    return message_of(pb.PinRequest, model=model, ref=ref, **target)


def list_deployments_request(
    *, source: str, model: str, ref: str, state: DeploymentState | None, page_size: int
) -> pb.ListDeploymentsRequest:
    """Build a request for the first page of deployments."""
    return message_of(
        pb.ListDeploymentsRequest,
        source=source,
        model=model,
        ref=ref,
        state=_state_number(state),
        page_size=page_size,
    )


def _state_number(state: DeploymentState | str | None) -> int:
    try:
        return state_to_proto(None if state is None else DeploymentState(state))
    except ValueError:
        known = ", ".join(DeploymentState)
        raise BadArgument(f"state: expected one of {known}, got {state!r}") from None


def predict_request(
    model: str,
    inputs: Any,
    *,
    ref: str | None,
    version: int | None,
    commit: str | None,
    outputs: Sequence[str] | str | None,
) -> tuple[pb.PredictRequest, UnsentColumns]:
    """Build a request to predict; see `input_messages.fill_sendable` for what `inputs` may be."""
    target = _one_target(ref=ref, version=version, commit=commit)
    names = [outputs] if isinstance(outputs, str) else outputs
    request = message_of(pb.PredictRequest, model=model, outputs=names, **target)
    return request, fill_sendable(request, inputs)
