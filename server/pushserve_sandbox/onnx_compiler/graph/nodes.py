"""Nodes of ONNX, written into a graph that skl2onnx is making."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from pushserve_runtime.onnx_predictor import REFUSES

ML_DOMAIN: Final = "ai.onnx.ml"
KNOWN_ML: Final = 3
"""Highest version of that domain that skl2onnx takes."""


class Nodes:
    """Adds nodes and constants, each under a name of its own."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def add(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node of the standard domain with one output; give the output's name."""
        return self.add_several(kind, inputs, [output], **attributes)[0]

    def add_several(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str | None], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, named as given or, for None, by a name of its own."""
        free = f"{kind.lower()}_out"
        names = [str(o or self._scope.get_unique_variable_name(free)) for o in outputs]
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, list(inputs), names, name=name, **attributes)
        return names

    def add_ml(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of the domain ai.onnx.ml with one output; give the output's name."""
        # skl2onnx is told the version that it knows; `convert` sets the right one at the end.
        return self.add(kind, inputs, op_domain=ML_DOMAIN, op_version=KNOWN_ML, **attributes)

    def constant(self, values: Any) -> str:
        """Add a constant: numbers or truth values as their NumPy type, texts as text."""
        name = str(self._scope.get_unique_variable_name("constant"))
        array = np.asarray(values)
        if array.dtype.kind in "OU":
            texts = [str(item).encode() for item in array.reshape(-1).tolist()]
            shape = list(array.shape)
            self._container.add_initializer(name, TensorProto.STRING, shape, texts)
        else:
            self._container.add_initializer(name, None, None, tensor(array))
        return name

    def flat_integers(self, source: str) -> str:
        """Give truth values [rows, 1] as numbers [rows]."""
        flat = self.add("Reshape", [source, self.constant(np.array([-1]))])
        return self.cast(flat, TensorProto.INT64)

    def without_infinite(self, source: str) -> str:
        """Give doubles as they are; where one is infinite, the graph refuses the rows."""
        found = self.cast(self.add("IsInf", [source]), TensorProto.INT64)
        most = self.add("ReduceMax", [found], keepdims=0)
        return self.add("Sub", [source, self.gather_or_refuse(self.constant(np.zeros(1)), most)])

    def gather_or_refuse(self, table: str, numbers: str) -> str:
        """Give a table's rows; a number that it does not have makes the graph refuse the rows."""
        output = str(self._scope.get_unique_variable_name("gathered"))
        name = self._scope.get_unique_operator_name(REFUSES)
        self._container.add_node("Gather", [table, numbers], [output], name=name, axis=0)
        return output

    def cast(self, source: str, kind: int, output: str | None = None) -> str:
        """Cast to an element type of TensorProto."""
        return self.add("Cast", [source], output, to=kind)


def tensor(values: NDArray[Any]) -> TensorProto:
    """Give a tensor of a NumPy array of numbers."""
    return numpy_helper.from_array(np.asarray(values, order="C"))


def with_outputs(model: Any, names: Sequence[str]) -> bytes:
    """Give a model, as it is written, whose outputs are these tensors of its graph."""
    opened = ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return bytes(opened.SerializeToString())
