"""Traversal of a graph, node by node: what each tensor takes at every point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from onnx import ModelProto, NodeProto

from pushserve_sandbox.admission import ml_operators
from pushserve_sandbox.admission.attributes import Attributes
from pushserve_sandbox.admission.copies import copies_in
from pushserve_sandbox.admission.form import ML_DOMAIN
from pushserve_sandbox.admission.growth import is_straight
from pushserve_sandbox.admission.inference import Inference, constant_of
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.operators import OPERATORS
from pushserve_sandbox.admission.step import Step
from pushserve_sandbox.admission.tensors import STRING, Point, Tensor
from pushserve_sandbox.admission.values import evaluate

_TAKES_NONE: Final = frozenset({"Cast", "Concat", "Gather", "Identity", "Slice", "Split"})
"""What may give and take a tensor of no columns; others might divide by their number."""
_KEEPS_KINDS: Final = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


class Traversal:
    """The sums over all nodes so far: `memory` in bytes, `work` in operations, at each point.

    `arithmetic` is the part of the work that is no comparing, as in trees: it takes longer for
    numbers next to zero.
    """

    def __init__(
        self, model: ModelProto, inputs: Mapping[str, Tensor], points: Sequence[Point]
    ) -> None:
        self._graph = model.graph
        self._points = points
        self._inference = Inference(model.opset_import, points)
        self._tensors: dict[str, Tensor | None] = dict(inputs)
        self.memory = [2 * sum(item.bytes(i) for item in inputs.values()) for i in _each(points)]
        self.work = [0] * len(points)
        self.arithmetic = [0] * len(points)
        self._copies: Counter[str] = Counter()
        for item in inputs.values():
            self._copies.update(item.texts)
        self.kinds = 0
        for constant in self._graph.initializer:
            self._tensors[constant.name] = constant_of(constant, points)

    @property
    def copies(self) -> int:
        """How many copies are made of one text at most."""
        return max(self._copies.values(), default=0)

    def run(self) -> None:
        """Go through all nodes, in the order in which they stand.

        Raises:
            NotAdmitted: something may not run in a server process.
        """
        for node in self._graph.node:
            self._take(node)

    def insist_known(self, name: str) -> None:
        """Insist that a tensor is one of the graph's.

        Raises:
            NotAdmitted: it is not.
        """
        if name not in self._tensors:
            raise NotAdmitted("an output that nothing gives")

    def _take(self, node: NodeProto) -> None:
        inputs = [self._tensors[name] if name else None for name in node.input]
        step = Step(node, Attributes(node), inputs)
        if node.op_type not in _TAKES_NONE and any(_is_empty(item) for item in inputs):
            raise NotAdmitted(f"{node.op_type} of a tensor without elements")
        known = self._of_ml(step) if node.domain == ML_DOMAIN else self._of_standard(step)
        for name, found in zip(node.output, known, strict=False):
            item = found
            if item is not None and item.kind == STRING:
                item = replace(item, texts=copies_in(step, item))
            if name:
                self._tensors[name] = item
            if item is not None:
                self._add(node, item)

    def _of_ml(self, step: Step) -> Sequence[Tensor | None]:
        known, each, of_a_row = ml_operators.outputs(step)
        step = replace(step, outputs=known)
        for i in _each(self._points):
            self.memory[i] += ml_operators.beside(step, of_a_row, i)
        self._add_work(step, [ml_operators.work(step, each, i) for i in _each(self._points)])
        return known

    def _of_standard(self, step: Step) -> Sequence[Tensor | None]:
        operator = OPERATORS[step.operator]
        if operator.check is not None:
            operator.check(step)
        known = self._inference.outputs(step.node, step.inputs)
        known = [self._followed(step, item, i) for i, item in enumerate(known)]
        step = replace(step, outputs=known)
        self._add_work(step, [operator.work(step, i) for i in _each(self._points)])
        if operator.scratch is not None:
            scratch = [operator.scratch(step, i) for i in _each(self._points)]
            self._insist_straight(step.node, scratch)
            self.memory = [a + b for a, b in zip(self.memory, scratch, strict=True)]
        return known

    def _followed(self, step: Step, item: Tensor | None, number: int) -> Tensor | None:
        """Add what is known beside the shape: values, and how texts and kinds go on."""
        if item is None:
            return None
        if item.values is None and number == 0 and len(step.node.output) == 1:
            values = evaluate(step.node, step.inputs, item, self._inference.version)
            item = replace(item, values=values)
        if step.operator in _KEEPS_KINDS and step.given(0):
            item = replace(item, kinds=step.input(0).kinds)
        if step.operator == "Unique" and item.kinds is not None:
            self.kinds = max(self.kinds, item.kinds)
        return item

    def _add(self, node: NodeProto, item: Tensor) -> None:
        """Count a tensor, whose every length and whose size have to be straight."""
        for axis in range(item.rank):
            self._insist_straight(node, [shape[axis] for shape in item.shapes])
        sizes = [item.bytes(i) for i in _each(self._points)]
        self._insist_straight(node, sizes)
        if _is_empty(item) and node.op_type not in _TAKES_NONE:
            raise NotAdmitted(f"an output of {node.op_type} without elements")
        self.memory = [a + b for a, b in zip(self.memory, sizes, strict=True)]
        self._copies.update(item.texts)

    def _add_work(self, step: Step, sizes: Sequence[int]) -> None:
        self._insist_straight(step.node, sizes)
        self.work = [a + b for a, b in zip(self.work, sizes, strict=True)]
        if not step.operator.startswith("TreeEnsemble"):
            self.arithmetic = [a + b for a, b in zip(self.arithmetic, sizes, strict=True)]

    def _insist_straight(self, node: NodeProto, sizes: Sequence[int]) -> None:
        if not is_straight(sizes):
            raise NotAdmitted(f"an output of {node.op_type} that grows faster than its rows")


def _is_empty(item: Tensor | None) -> bool:
    return item is not None and not item.constant and not item.size(0)


def _each(points: Sequence[Any]) -> range:
    return range(len(points))
