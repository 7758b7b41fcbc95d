"""Shape inference: what a node of the standard domain gives, at every point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from onnx import NodeProto, OperatorSetIdProto, TypeProto, defs, helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.tensors import (
    KINDS,
    MOST_VALUES,
    STRING,
    Point,
    Shape,
    Tensor,
    Values,
)

_MOST_PARAMETERS: Final = 1024
"""No parameter of a shape, such as where a slice ends, has more values."""
_ONE_INPUT: Final = 0


class Inference:
    """Gives the outputs of nodes, for one graph's operator sets."""

    def __init__(self, opsets: Sequence[OperatorSetIdProto], points: Sequence[Point]) -> None:
        self._opsets = list(opsets)
        self._version = max((o.version for o in opsets if o.domain in ("", "ai.onnx")), default=1)
        self._points = points

    @property
    def version(self) -> int:
        """Version of the standard domain."""
        return self._version

    def outputs(self, node: NodeProto, inputs: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Give a node's outputs, None for those that it leaves out.

        Raises:
            NotAdmitted: a shape is not known before it runs.
        """
        own = _OWN.get(node.op_type)
        if own is not None:
            return own(node, inputs, self._points)[: len(node.output)]
        return self._inferred(node, inputs)

    def _inferred(self, node: NodeProto, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        present = [item for item in inputs if item is not None]
        moves = any(
            item.moves or (item.values is not None and not item.values.is_fixed) for item in present
        )
        found = [self._at(node, inputs, i) for i in range(len(self._points) if moves else 1)]
        if not moves:
            found *= len(self._points)
        constant = all(item.constant for item in present)
        return [
            _tensor(node, [types.get(name) for types in found], constant=constant) if name else None
            for name in node.output
        ]

    def _at(
        self, node: NodeProto, inputs: Sequence[Tensor | None], point: int
    ) -> dict[str, TypeProto]:
        schema = defs.get_schema(node.op_type, self._version, "")
        types, data = {}, {}
        for name, item in zip(node.input, inputs, strict=True):
            if item is None:
                continue
            types[name] = helper.make_tensor_type_proto(item.kind, item.shapes[point])
            values = item.values
            if values is not None and values.array.size <= _MOST_PARAMETERS:
                data[name] = numpy_helper.from_array(values.arrays[point])
        return infer_node_outputs(schema, node, types, data, opset_imports=self._opsets)


def _tensor(node: NodeProto, types: Sequence[TypeProto | None], *, constant: bool) -> Tensor:
    shapes = [_shape(item) for item in types]
    if any(shape is None for shape in shapes):
        raise NotAdmitted(f"an output of {node.op_type} whose size depends on values")
    kinds = {item.tensor_type.elem_type for item in types if item is not None}
    if len(kinds) != 1 or not kinds <= KINDS:
        raise NotAdmitted(f"an output of {node.op_type} of an unknown type")
    return Tensor(kinds.pop(), tuple(s for s in shapes if s is not None), constant=constant)


def _shape(item: TypeProto | None) -> Shape | None:
    """Give a shape whose every length is known."""
    if item is None or not item.HasField("tensor_type"):
        return None
    if not item.tensor_type.HasField("shape"):
        return None
    dims = item.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(int(dim.dim_value) for dim in dims)


Outputs = Sequence[Tensor]


def _constant(node: NodeProto, _: Sequence[Tensor | None], points: Sequence[Point]) -> Outputs:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return [constant_of(value, points)]
    if attribute.name in ("value_int", "value_ints"):
        return [_fixed(np.array(value, np.int64), points)]
    if attribute.name in ("value_float", "value_floats"):
        return [_fixed(np.array(value, np.float32), points)]
    if attribute.name == "value_string":
        return [Tensor(STRING, ((),) * len(points), constant=True)]
    return [Tensor(STRING, ((len(value),),) * len(points), constant=True)]


def constant_of(tensor: Any, points: Sequence[Point]) -> Tensor:
    """Give what is known of a constant (a TensorProto): its values, too, where they are few."""
    shape = tuple(int(dim) for dim in tensor.dims)
    if math.prod(shape) <= MOST_VALUES and tensor.data_type in KINDS - {STRING}:
        return _fixed(numpy_helper.to_array(tensor), points)
    return Tensor(int(tensor.data_type), (shape,) * len(points), constant=True)


def _fixed(array: Any, points: Sequence[Point]) -> Tensor:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    values = Values.fixed(array, len(points))
    return Tensor(int(kind), (array.shape,) * len(points), values, constant=True)


def _lengths(node: NodeProto, inputs: Sequence[Tensor | None], _: Sequence[Point]) -> Outputs:
    """Shape: the lengths themselves, moving where the axis does."""
    source = _first(inputs)
    ends = {item.name: item.i for item in node.attribute}
    axes = range(source.rank)[slice(ends.get("start", 0), ends.get("end", source.rank))]
    arrays = tuple(np.array([s[axis] for axis in axes], np.int64) for s in source.shapes)
    moving = np.array([source.axis_moves(axis) for axis in axes], bool)
    return [_whole_numbers(arrays, moving, constant=source.constant)]


def _count(_: NodeProto, inputs: Sequence[Tensor | None], __: Sequence[Point]) -> Outputs:
    """Size: how many elements there are."""
    source = _first(inputs)
    arrays = tuple(np.array(math.prod(shape), np.int64) for shape in source.shapes)
    return [_whole_numbers(arrays, np.array(source.moves), constant=source.constant)]


def _whole_numbers(arrays: tuple[Any, ...], moving: Any, *, constant: bool) -> Tensor:
    shapes = tuple(array.shape for array in arrays)
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(np.int64)))
    return Tensor(kind, shapes, Values(arrays, moving), constant=constant)


def _unique(node: NodeProto, inputs: Sequence[Tensor | None], points: Sequence[Point]) -> Outputs:
    """Unique of numbers of terms: as many as there are kinds of them, which a point says."""
    source = _first(inputs)
    sizes = [point.rows * point.terms for point in points]
    of_terms = len({point.terms for point in points}) > 1 and source.kinds is not None
    if not of_terms or sizes != [math.prod(shape) for shape in source.shapes] or node.attribute:
        raise NotAdmitted("an output of Unique whose size depends on values")
    kinds = tuple((point.kinds,) for point in points)
    places = tuple((math.prod(shape),) for shape in source.shapes)
    numbers = int(helper.np_dtype_to_tensor_dtype(np.dtype(np.int64)))
    return [
        replace(source, shapes=kinds),
        Tensor(numbers, kinds),
        Tensor(numbers, places),
        Tensor(numbers, kinds),
    ]


def _first(inputs: Sequence[Tensor | None]) -> Tensor:
    source = inputs[_ONE_INPUT] if inputs else None
    if source is None:
        raise NotAdmitted("a node without its input")
    return source


_OWN: Final[dict[str, Callable[[NodeProto, Sequence[Tensor | None], Sequence[Point]], Outputs]]] = {
    "Constant": _constant,
    "Shape": _lengths,
    "Size": _count,
    "Unique": _unique,
}
