"""Graph safety: checks an ONNX graph without running it; that it is whole, and where it may run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushserve_runtime.build_error import BuildFailed, brief, listed
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_sandbox.admission.admit import admit
from pushserve_sandbox.admission.not_admitted import NotAdmitted


@dataclass(frozen=True, slots=True)
class Checked:
    """A graph that holds together, with the classes that it names.

    `worker_reason` says why it must run in a worker; else it is "", and there are `bounds`.
    """

    worker_reason: str
    bounds: GraphBounds | None
    classes: tuple[str, ...]


def check_graph(path: Path, width: int = 0) -> Checked:
    """Check a graph without running it; `width` is for an input that leaves its columns open.

    Raises:
        BuildFailed: ARTIFACT_UNREADABLE or ONNX_EXTERNAL_DATA.
    """
    import onnx  # noqa: PLC0415 (only builds of ONNX models need it)

    try:
        model = onnx.load(str(path), load_external_data=False)
        external = [t.name for t in _messages(model, onnx.TensorProto) if _is_external(onnx, t)]
        if not external:
            onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and C++ raise classes of their own
        raise BuildFailed(
            "ARTIFACT_UNREADABLE",
            f"{path.name} is not a valid ONNX model: {brief(error)}",
            "export the model again, and check it with onnx.checker.check_model",
        ) from error
    if external:
        raise BuildFailed(
            "ONNX_EXTERNAL_DATA",
            f"{path.name} keeps tensors in other files: {listed(external)}",
            "save it as one file (onnx.save_model(..., save_as_external_data=False))",
        )
    classes = _classes(list(_messages(model, onnx.NodeProto)))
    try:
        return Checked("", admit(model, width), classes)
    except NotAdmitted as refusal:
        return Checked(str(refusal), None, classes)


def _messages(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Every message of a kind, however deep: graphs nest in attributes."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if hasattr(value, "ListFields") else value:
            if isinstance(item, kind):
                yield item
            if hasattr(item, "ListFields"):
                yield from _messages(item, kind)


def _is_external(onnx: Any, tensor: Any) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) > 0)


def _classes(nodes: Sequence[Any]) -> tuple[str, ...]:
    """The class labels that the last classifier of a graph names."""
    for node in reversed(nodes):
        for attribute in node.attribute:
            labels: list[Any] = []
            if attribute.name in ("classlabels_int64s", "classlabels_ints"):
                labels = list(attribute.ints)
            elif attribute.name == "classlabels_strings":
                labels = [item.decode(errors="replace") for item in attribute.strings]
            if labels:  # a ZipMap gives maps, which ONNX Runtime sorts by key
                ordered = sorted(labels) if node.op_type == "ZipMap" else labels
                return tuple(str(item) for item in ordered)
    return ()
