"""Record messages: every conversion between registry records and messages; pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.signature import Accepts, DType, Signature
from pushserve_server.domain import records
from pushserve_server.domain.records import EngineName
from pushserve_server.domain.states import DeploymentState

DTYPE_TO_PROTO: Final = {
    DType.FLOAT64: pb.DATA_TYPE_FLOAT64,
    DType.FLOAT32: pb.DATA_TYPE_FLOAT32,
    DType.INT64: pb.DATA_TYPE_INT64,
    DType.INT32: pb.DATA_TYPE_INT32,
    DType.BOOL: pb.DATA_TYPE_BOOL,
    DType.STRING: pb.DATA_TYPE_STRING,
    DType.JSON: pb.DATA_TYPE_JSON,
}
ACCEPTS_TO_PROTO: Final = {
    accepts: pb.Accepts.Value(f"ACCEPTS_{accepts.name}") for accepts in Accepts
}
ENGINE_TO_PROTO: Final = {
    EngineName.ONNX: pb.ENGINE_ONNX,
    EngineName.WORKER: pb.ENGINE_WORKER,
}
STATE_TO_PROTO: Final = {
    state: pb.DeploymentState.Value(f"DEPLOYMENT_STATE_{state.name}") for state in DeploymentState
}
STATE_FROM_PROTO: Final = {value: state for state, value in STATE_TO_PROTO.items()}


def time_to_proto(at: datetime) -> Timestamp:
    """Convert an aware datetime."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def signature_to_proto(signature: Signature) -> pb.Signature:
    """Convert a signature."""
    inputs = [
        pb.Feature(
            name=f.name,
            dtype=DTYPE_TO_PROTO[f.dtype],
            nullable=f.nullable,
            categories=[str(c) for c in f.categories],
            accepts=ACCEPTS_TO_PROTO[f.accepts],
        )
        for f in signature.inputs
    ]
    outputs = [
        pb.OutputSpec(
            name=o.name,
            dtype=DTYPE_TO_PROTO[o.dtype],
            columns=o.columns,
            classes=o.classes,
            by_default=o.name in signature.default_outputs,
        )
        for o in signature.outputs
    ]
    return pb.Signature(inputs=inputs, outputs=outputs)


def version_to_proto(version: records.Version) -> pb.Version:
    """Convert a version."""
    report = version.report
    return pb.Version(
        number=version.number,
        commit=version.commit,
        engine=ENGINE_TO_PROTO[version.engine],
        engine_reason=str(report.get("engine_reason", "")),
        signature=signature_to_proto(version.signature),
        format=str(report.get("format", "")),
        digest=version.digest,
        size_bytes=int(report.get("size_bytes", 0)),
        examples_checked=int(report.get("examples_checked", 0)),
        create_time=time_to_proto(version.created_at),
    )


def ref_to_proto(ref: records.Ref) -> pb.Ref:
    """Convert a ref."""
    return pb.Ref(
        name=ref.name,
        version=ref.effective,
        commit=ref.effective_commit,
        pinned=ref.pinned is not None,
        latest_version=ref.version,
        update_time=time_to_proto(ref.updated_at),
    )


def model_to_proto(model: records.Model) -> pb.Model:
    """Convert a model."""
    return pb.Model(
        name=model.name,
        source=model.source,
        path=model.path,
        refs=[ref_to_proto(ref) for ref in model.refs],
        default_ref=model.default_ref,
        create_time=time_to_proto(model.created_at),
    )


def deployment_to_proto(deployment: records.Deployment) -> pb.Deployment:
    """Convert a deployment with the events that it holds."""
    return pb.Deployment(
        name=deployment.name,
        source=deployment.source,
        path=deployment.path,
        ref=deployment.ref,
        commit=deployment.commit,
        model=deployment.model,
        version=deployment.version or 0,
        state=STATE_TO_PROTO[deployment.state],
        message=deployment.message,
        error=failure_to_proto(deployment.failure) if deployment.failure else None,
        events=[event_to_proto(event) for event in deployment.events],
        create_time=time_to_proto(deployment.created_at),
        update_time=time_to_proto(deployment.updated_at),
        superseded_by=deployment.superseded_by or "",
    )


def failure_to_proto(failure: records.Failure) -> pb.DeploymentError:
    """Convert why a deployment failed."""
    return pb.DeploymentError(
        reason=failure.reason,
        step=STATE_TO_PROTO[failure.step],
        message=failure.message,
        fix=failure.fix,
    )


def event_to_proto(event: records.Event) -> pb.DeploymentEvent:
    """Convert an event."""
    return pb.DeploymentEvent(
        state=STATE_TO_PROTO[event.state], message=event.message, time=time_to_proto(event.at)
    )
