"""Form of a graph: how many parts of which kinds, looked at before their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from onnx import AttributeProto, ModelProto, NodeProto

from pushserve_runtime.build_error import listed
from pushserve_sandbox.admission import ml_operators, operators
from pushserve_sandbox.admission.not_admitted import NotAdmitted

ML_DOMAIN: Final = "ai.onnx.ml"
MOST_NODES: Final = 5_000
MOST_EDGES: Final = 40_000
MOST_CONSTANTS: Final = 40_000
"""Each takes a thousand bytes beside its values, however few these are."""
LONGEST_NAME: Final = 200
_CONTROL: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_DOMAINS: Final = frozenset({"", "ai.onnx", ML_DOMAIN})
_PLAIN: Final = frozenset(
    {
        AttributeProto.FLOAT,
        AttributeProto.INT,
        AttributeProto.STRING,
        AttributeProto.TENSOR,
        AttributeProto.FLOATS,
        AttributeProto.INTS,
        AttributeProto.STRINGS,
    }
)


def check_form(model: ModelProto) -> None:
    """Check what a graph is written with.

    Raises:
        NotAdmitted: there is something that no server process runs.
    """
    check_standard(model)
    graph = model.graph
    _check_operators(graph.node)
    if len(model.functions):
        raise NotAdmitted("functions of its own")
    if len(graph.sparse_initializer):
        raise NotAdmitted("sparse tensors")
    if len(model.training_info):
        raise NotAdmitted("steps for training")
    if len(graph.node) > MOST_NODES:
        raise NotAdmitted(f"{len(graph.node):,} nodes, more than {MOST_NODES:,}")
    edges = sum(len(node.input) + len(node.output) for node in graph.node)
    if edges > MOST_EDGES:
        raise NotAdmitted(f"{edges:,} edges between its nodes, more than {MOST_EDGES:,}")
    if len(graph.initializer) > MOST_CONSTANTS or len(graph.value_info) > MOST_CONSTANTS:
        raise NotAdmitted(f"more than {MOST_CONSTANTS:,} constants")
    if any(len(name) > LONGEST_NAME for name in _names(graph)):
        raise NotAdmitted(f"a name of more than {LONGEST_NAME} letters")


def check_standard(model: ModelProto) -> None:
    """Check that a graph is made of standard operators, one after the other.

    Raises:
        NotAdmitted: it has others, or control flow.
    """
    opsets = {(i.domain.replace("ai.onnx", "", 1), i.version) for i in model.opset_import}
    if len({domain for domain, _ in opsets}) < len(opsets):
        raise NotAdmitted("two versions of the same operators")
    domains = {item.domain for item in model.opset_import}
    domains |= {node.domain for node in model.graph.node}
    custom = sorted(domains - _DOMAINS)
    if custom:
        raise NotAdmitted(f"operators of other domains: {listed(custom)}")
    control = sorted({node.op_type for node in model.graph.node} & _CONTROL)
    if control:
        raise NotAdmitted(f"control flow: {listed(control)}")


def _check_operators(nodes: Sequence[NodeProto]) -> None:
    unknown = sorted({node.op_type for node in nodes if not _is_known(node)})
    if unknown:
        raise NotAdmitted(f"operators that run in a sandbox alone: {listed(unknown)}")
    for node in nodes:
        if any(item.type not in _PLAIN or item.ref_attr_name for item in node.attribute):
            raise NotAdmitted(f"a part of {node.op_type} that is no number, text or tensor")


def _is_known(node: NodeProto) -> bool:
    known = ml_operators.OPERATORS if node.domain == ML_DOMAIN else operators.OPERATORS
    return node.op_type in known


def _names(graph: Any) -> Iterator[str]:
    yield graph.name
    for items in (graph.input, graph.output, graph.initializer, graph.value_info):
        yield from (item.name for item in items)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
