"""Tensors before a graph has run: the type, the shapes, some of the values.

Shapes are followed at several points at once, each with other numbers of rows and terms. What
differs between the points is called moving; everything else is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pushserve_sandbox.admission.not_admitted import NotAdmitted

Shape = tuple[int, ...]

MOST_VALUES: Final = 4096
"""Values of so many elements are followed; those of others are taken for unknown."""
STRING: Final = TensorProto.STRING
_STRING_BYTES: Final = 64
"""What a text in a tensor takes: 32 bytes, and the letters of a short one beside them."""
INTEGERS: Final = frozenset(
    {
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    }
)
KINDS: Final = INTEGERS | {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.BOOL,
    STRING,
}
"""Types of elements that are known here."""


class Point(NamedTuple):
    """Sizes that a request decides: rows, terms of the longest row, kinds of terms."""

    rows: int
    terms: int
    kinds: int


@dataclass(frozen=True, slots=True)
class Values:
    """Known values: one array for each point. `moving` marks those that a point decides."""

    arrays: tuple[NDArray[Any], ...]
    moving: NDArray[np.bool_]

    @classmethod
    def fixed(cls, array: NDArray[Any], points: int) -> Values:
        """Give values that are the same at every point."""
        return cls((array,) * points, np.zeros(array.shape, bool))

    @property
    def array(self) -> NDArray[Any]:
        """The values at the first point."""
        return self.arrays[0]

    @property
    def is_fixed(self) -> bool:
        """Whether no point decides any of them."""
        return not self.moving.any()


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `shapes` has one shape for each point.

    `constant` is one that is made of the graph's own constants alone. `texts` says how
    many copies it holds of a text of each input (`copies`). `kinds` bounds how many different
    values it has, where that is known.
    """

    kind: int
    shapes: tuple[Shape, ...]
    values: Values | None = None
    constant: bool = False
    texts: Mapping[str, int] = field(default_factory=dict)
    kinds: int | None = None

    @property
    def shape(self) -> Shape:
        """The shape at the first point."""
        return self.shapes[0]

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shapes[0])

    @property
    def moves(self) -> bool:
        """Whether its shape differs from point to point."""
        return any(shape != self.shapes[0] for shape in self.shapes)

    def axis_moves(self, axis: int) -> bool:
        """Whether an axis has another length at another point."""
        return any(shape[axis] != self.shapes[0][axis] for shape in self.shapes)

    def size(self, point: int) -> int:
        """Give how many elements it has at a point."""
        return math.prod(self.shapes[point])

    def bytes(self, point: int) -> int:
        """Give how many bytes it takes at a point."""
        return self.size(point) * element_bytes(self.kind)

    def fixed_values(self, what: str) -> NDArray[Any]:
        """Give its values.

        Raises:
            NotAdmitted: they are not known, or not the same at every point.
        """
        if self.values is None or not self.values.is_fixed:
            raise NotAdmitted(f"{what} that is known only when it runs")
        return self.values.array


def element_bytes(kind: int) -> int:
    """Give what one element takes.

    Raises:
        NotAdmitted: there are no such elements here.
    """
    if kind == STRING:
        return _STRING_BYTES
    if kind not in KINDS:
        raise NotAdmitted(f"values of type {TensorProto.DataType.Name(kind)}")
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def fixed_axes(tensor: Tensor, axes: Sequence[int], what: str) -> None:
    """Insist that axes have the same lengths at every point.

    Raises:
        NotAdmitted: one has not.
    """
    if any(tensor.axis_moves(axis) for axis in axes):
        raise NotAdmitted(f"{what} along an axis whose length a request decides")
