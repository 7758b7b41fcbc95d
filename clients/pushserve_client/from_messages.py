"""Value conversion: from messages to values; pure functions, one for each message."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import CallError, error_from_stream
from pushserve_client.output_values import OutputArrays
from pushserve_client.prediction import Prediction
from pushserve_client.types import (
    Accepts,
    DataType,
    Deployment,
    DeploymentEvent,
    DeploymentState,
    Engine,
    Failure,
    Feature,
    Model,
    ModelDetails,
    OutputSpec,
    Ref,
    ServerInfo,
    Signature,
    Version,
)

Member = TypeVar("Member", bound=enum.Enum)


def time_from_proto(message: Timestamp) -> datetime | None:
    """Give an aware datetime; None where the field was not set."""
    if not message.seconds and not message.nanos:
        return None
    return message.ToDatetime(tzinfo=timezone.utc)


def state_from_proto(number: int) -> DeploymentState:
    """Give the state; one that this client does not know yet is UNSPECIFIED."""
    name = _enum_name(pb.DeploymentState, number).removeprefix("DEPLOYMENT_STATE_")
    return _member(DeploymentState.UNSPECIFIED, name)


def state_to_proto(state: DeploymentState | None) -> pb.DeploymentState.ValueType:
    """Give the enum's number; no state is 0, which filters nothing."""
    return pb.DeploymentState.Value(f"DEPLOYMENT_STATE_{state or DeploymentState.UNSPECIFIED}")


def engine_from_proto(number: int) -> Engine:
    """Give the engine; an unknown one is UNSPECIFIED."""
    name = _enum_name(pb.Engine, number).removeprefix("ENGINE_").lower()
    return _member(Engine.UNSPECIFIED, name)


def dtype_from_proto(number: int) -> DataType:
    """Give the type; an unknown one is UNSPECIFIED."""
    name = _enum_name(pb.DataType, number).removeprefix("DATA_TYPE_").lower()
    return _member(DataType.UNSPECIFIED, name)


def accepts_from_proto(number: int) -> Accepts:
    """Give what a feature takes; an unknown one is UNSPECIFIED, an older server's is DTYPE."""
    name = _enum_name(pb.Accepts, number).removeprefix("ACCEPTS_").lower()
    return _member(Accepts.UNSPECIFIED, name) if number else Accepts.DTYPE


def _enum_name(wrapper: object, number: int) -> str:
    """Name of an open enum's number, "" where a newer server sent one unknown here."""
    by_number = wrapper.DESCRIPTOR.values_by_number  # type: ignore[attr-defined]
    return str(by_number[number].name) if number in by_number else ""


def _member(default: Member, value: str) -> Member:
    """Member of `default`'s enum with that value, `default` where there is none."""
    try:
        return type(default)(value)
    except ValueError:
        return default


def failure_from_proto(message: pb.DeploymentError) -> Failure:
    """Convert why a deployment failed."""
    return Failure(message.reason, state_from_proto(message.step), message.message, message.fix)


def event_from_proto(message: pb.DeploymentEvent) -> DeploymentEvent:
    """Convert one change of a deployment."""
    return DeploymentEvent(
        state_from_proto(message.state), message.message, time_from_proto(message.time)
    )


def deployment_from_proto(message: pb.Deployment) -> Deployment:
    """Convert a deployment."""
    return Deployment(
        name=message.name,
        source=message.source,
        path=message.path,
        ref=message.ref,
        commit=message.commit,
        model=message.model,
        version=message.version,
        state=state_from_proto(message.state),
        message=message.message,
        failure=failure_from_proto(message.error) if message.HasField("error") else None,
        superseded_by=message.superseded_by,
        events=tuple(event_from_proto(e) for e in message.events),
        create_time=time_from_proto(message.create_time),
        update_time=time_from_proto(message.update_time),
    )


def ref_from_proto(message: pb.Ref) -> Ref:
    """Convert a ref."""
    return Ref(
        name=message.name,
        version=message.version,
        commit=message.commit,
        pinned=message.pinned,
        latest_version=message.latest_version,
        update_time=time_from_proto(message.update_time),
    )


def model_from_proto(message: pb.Model) -> Model:
    """Convert a model."""
    return Model(
        name=message.name,
        source=message.source,
        path=message.path,
        refs=tuple(ref_from_proto(r) for r in message.refs),
        default_ref=message.default_ref,
        create_time=time_from_proto(message.create_time),
    )


def signature_from_proto(message: pb.Signature) -> Signature:
    """Convert a signature."""
    return Signature(
        inputs=tuple(
            Feature(
                f.name,
                dtype_from_proto(f.dtype),
                f.nullable,
                tuple(f.categories),
                accepts_from_proto(f.accepts),
            )
            for f in message.inputs
        ),
        outputs=tuple(
            OutputSpec(o.name, dtype_from_proto(o.dtype), o.columns, tuple(o.classes), o.by_default)
            for o in message.outputs
        ),
    )


def version_from_proto(message: pb.Version) -> Version:
    """Convert a version."""
    return Version(
        number=message.number,
        commit=message.commit,
        engine=engine_from_proto(message.engine),
        engine_reason=message.engine_reason,
        signature=signature_from_proto(message.signature),
        format=message.format,
        digest=message.digest,
        size_bytes=message.size_bytes,
        examples_checked=message.examples_checked,
        create_time=time_from_proto(message.create_time),
    )


def details_from_proto(message: pb.GetResponse) -> ModelDetails:
    """Convert a model with its versions."""
    return ModelDetails(
        model=model_from_proto(message.model),
        version=version_from_proto(message.version),
        versions=tuple(version_from_proto(v) for v in message.versions),
    )


def info_from_proto(message: pb.InfoResponse) -> ServerInfo:
    """Convert what a server runs on."""
    packages = {package.name: package.version for package in message.packages}
    return ServerInfo(message.version, message.python, packages)


def prediction_from_proto(message: pb.PredictResponse) -> Prediction:
    """Convert a reply."""
    return Prediction(
        model=message.model,
        version=message.version,
        commit=message.commit,
        engine=engine_from_proto(message.engine),
        outputs=OutputArrays(message),
        output_classes={o.name: tuple(o.classes) for o in message.outputs if o.classes},
        rows=tuple(_in_order(object_from_proto(row), message.row_keys) for row in message.rows),
    )


def _in_order(row: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Put a row's keys into the order in which the model gave the first one's, others behind."""
    known = [key for key in keys if key in row]
    more = sorted(key for key in row if key not in keys) if len(known) < len(row) else []
    return {key: row[key] for key in (*known, *more)}


def outcome_from_proto(message: pb.PredictStreamResponse) -> Prediction | CallError:
    """Convert the answer to one request of a stream."""
    if message.HasField("error"):
        return error_from_stream(message.error)
    return prediction_from_proto(message.response)


def object_from_proto(message: struct_pb2.Struct) -> dict[str, object]:
    """Give plain Python values; a whole number comes back as int, as in JSON."""
    return {name: _value_from_proto(value) for name, value in message.fields.items()}


def _value_from_proto(value: struct_pb2.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [_value_from_proto(item) for item in value.list_value.values]
    if kind == "struct_value":
        return object_from_proto(value.struct_value)
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None
