"""Sparse counts of terms in a graph, as [rows, present]: only the terms that are in some row.

A vocabulary has 10,000s of terms and a text some 100. So what is weighed and multiplied are
the columns of those alone; only where a step needs all columns are these spread out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes

DOMAIN: Final = "pushserve"
"""Of nodes that stand in a graph while it is made, and are taken out at the end."""
_SPREAD: Final = "Spread"


@dataclass(frozen=True, slots=True)
class Counts:
    """`values` [rows, present] of the terms with the numbers `present`, of `width` known ones.

    The number `width` itself stands for all that are unknown.
    """

    nodes: Nodes
    values: str
    present: str
    width: int

    @classmethod
    def of(cls, nodes: Nodes, numbers: str, width: int) -> Counts:
        """Count terms, given by number [rows, terms]."""
        present, _, places = nodes.add_several("Unique", [numbers], [None, None, None])
        shape = nodes.add("Shape", [numbers])
        rows = nodes.add("Shape", [numbers], end=1)
        size = nodes.add("Concat", [rows, nodes.add("Shape", [present])], axis=0)
        places = nodes.add("Reshape", [places, shape])
        inputs = [_filled(nodes, size, 0.0), places, _filled(nodes, shape, 1.0)]
        values = nodes.add("ScatterElements", inputs, axis=1, reduction="add")
        return cls(nodes, values, present, width)

    def weighed(self, weights: Any) -> Counts:
        """Multiply by a weight for each known term; unknown ones become 0."""
        column = self.nodes.constant(np.append(np.asarray(weights, np.float64), 0.0))
        chosen = self.nodes.add("Gather", [column, self.present])
        return self.having(self.nodes.add("Mul", [self.values, chosen]))

    def having(self, values: str) -> Counts:
        """Give the same with other values."""
        return Counts(self.nodes, values, self.present, self.width)

    def spread(self, output: str) -> None:
        """Give the values of all known terms [rows, width]."""
        nodes = self.nodes
        rows = nodes.add("Shape", [self.values], end=1)
        size = nodes.add("Concat", [rows, nodes.constant(np.array([self.width + 1]))], axis=0)
        columns = nodes.add("Expand", [self.present, nodes.add("Shape", [self.values])])
        inputs = [_filled(nodes, size, 0.0), columns, self.values]
        whole = nodes.add("ScatterElements", inputs, axis=1)
        ends = [nodes.constant(np.array([value])) for value in (0, self.width, 1)]
        known = nodes.add("Slice", [whole, *ends])
        marked = [known, self.values, self.present]
        nodes.add(_SPREAD, marked, output, op_domain=DOMAIN, op_version=1)


def _filled(nodes: Nodes, shape: str, value: float) -> str:
    tensor = helper.make_tensor("value", TensorProto.DOUBLE, [1], [value])
    return nodes.add("ConstantOfShape", [shape], value=tensor)


def with_sparse_products(graph: Any) -> None:
    """Multiply what is not spread out, where a matrix of constants is all it meets."""
    for spread in [n for n in graph.node if n.domain == DOMAIN and n.op_type == _SPREAD]:
        whole, values, present = spread.input
        names = {spread.output[0]}
        for node in list(graph.node):
            if node.input and node.input[0] in names:
                if _changes_nothing(node):
                    names.add(node.output[0])
                elif node.op_type == "MatMul":
                    _multiply_present(graph, node, values, present)
        spread.CopyFrom(helper.make_node("Identity", [whole], [spread.output[0]]))


def replace_input(graph: Any, old: str, new: str) -> None:
    """Have all who use one tensor use another one."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _changes_nothing(node: Any) -> bool:
    if node.op_type == "Cast":
        return bool(node.attribute[0].i == TensorProto.DOUBLE)
    return bool(node.op_type == "Identity")


def _multiply_present(graph: Any, node: Any, values: str, present: str) -> None:
    constants = {item.name: item for item in graph.initializer}
    if node.input[1] not in constants:
        return
    weights = numpy_helper.to_array(constants[node.input[1]])
    number = len(graph.initializer)
    rows, chosen = f"pushserve_weights_{number}", f"pushserve_chosen_{number}"
    padded = np.vstack([weights, np.zeros((1, weights.shape[1]))])
    graph.initializer.append(numpy_helper.from_array(padded, rows))
    gather = helper.make_node("Gather", [rows, present], [chosen])
    graph.node.insert(list(graph.node).index(node), gather)
    node.input[:] = [values, chosen]
