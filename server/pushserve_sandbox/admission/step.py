"""Step: a node with what is known of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from pushserve_sandbox.admission.attributes import Attributes
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.tensors import Tensor, element_bytes


@dataclass(frozen=True, slots=True)
class Step:
    """A node; `outputs` are empty while they are not known."""

    node: NodeProto
    attributes: Attributes
    inputs: Sequence[Tensor | None]
    outputs: Sequence[Tensor | None] = ()

    @property
    def operator(self) -> str:
        """The operator's name."""
        return self.node.op_type

    def given(self, number: int) -> bool:
        """Whether an input is there."""
        return number < len(self.inputs) and self.inputs[number] is not None

    def input(self, number: int) -> Tensor:
        """Give an input.

        Raises:
            NotAdmitted: it is not there.
        """
        found = self.inputs[number] if number < len(self.inputs) else None
        if found is None:
            raise NotAdmitted(f"{self.operator} without its input {number}")
        return found

    def output(self) -> Tensor:
        """Give the first output.

        Raises:
            NotAdmitted: it is not there.
        """
        found = self.outputs[0] if self.outputs else None
        if found is None:
            raise NotAdmitted(f"{self.operator} without an output")
        return found

    def axis(self, default: int = 0) -> int:
        """Give the attribute `axis`, counted from the front of the first input's axes.

        Raises:
            NotAdmitted: there is no such axis.
        """
        rank = self.input(0).rank
        axis = self.attributes.integer("axis", default)
        if not -rank <= axis < rank:
            raise NotAdmitted(f"{self.operator} along an axis that does not exist")
        return axis % rank

    def sizes(self, point: int) -> tuple[int, int]:
        """Give how many elements all inputs and all outputs have at a point."""
        taken, given = (
            sum(item.size(point) for item in items if item is not None)
            for items in (self.inputs, self.outputs)
        )
        return taken, given

    def output_bytes(self, point: int) -> int:
        """Give what all outputs take at a point."""
        return sum(item.bytes(point) for item in self.outputs if item is not None)

    def kernel(self) -> int:
        """Give how many elements a window of a convolution or a pool has."""
        shape = self.attributes.integers("kernel_shape").tolist()
        if not shape and self.given(1):
            shape = list(self.input(1).shape[2:])
        return math.prod(shape)

    def element(self) -> int:
        """Give what an element of the first input takes, in bytes."""
        return element_bytes(self.input(0).kind)
