"""Costs of a node at a point: operations, and bytes beside its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from pushserve_sandbox.admission.step import Step
from pushserve_sandbox.admission.tensors import STRING

Cost = Callable[[Step, int], int]

_HARD: Final = 10
"""What a power, a logarithm or the like costs, in additions."""
_TEXT: Final = 50
"""What looking up or comparing a text costs."""
_SORT: Final = 30


def easy(step: Step, point: int) -> int:
    """One operation for each element that is read or written; more for texts."""
    taken, given = step.sizes(point)
    texts = any(item is not None and item.kind == STRING for item in step.inputs)
    return (taken + given) * (_TEXT if texts else 1)


def written(step: Step, point: int) -> int:
    """One for each element that is written: most of what is read is left alone."""
    return step.sizes(point)[1]


def hard(step: Step, point: int) -> int:
    """As `easy`, where each element takes a power, a logarithm or the like."""
    return _HARD * easy(step, point)


def sort(step: Step, point: int) -> int:
    """As `easy`, where elements are sorted or looked up."""
    return _SORT * easy(step, point)


def matrix_product(step: Step, point: int) -> int:
    """Two operations for each element of the result and each that it sums."""
    inner = step.input(0).shapes[point]
    transposed = step.attributes.integer("transA")
    length = inner[0 if transposed else -1] if inner else 1
    return 2 * step.output().size(point) * length + easy(step, point)


def convolution(step: Step, point: int) -> int:
    """Two for each element of the result and each weight that it sums."""
    channels = step.input(1).shape[1]
    return 2 * step.output().size(point) * channels * step.kernel() + easy(step, point)


def transposed_convolution(step: Step, point: int) -> int:
    """Two for each element of the input and each weight that it goes to."""
    channels = step.input(1).shape[1]
    return 2 * step.input(0).size(point) * channels * step.kernel() + easy(step, point)


def pool(step: Step, point: int) -> int:
    """One for each element of the result and each of its window."""
    return step.output().size(point) * step.kernel() + easy(step, point)


def unfolded(step: Step, _: int) -> int:
    """Give what the windows of one image take, laid out beside each other."""
    window = step.kernel() * step.input(0).shape[1]
    return math.prod(step.output().shape[2:]) * window * step.element()


def unfolded_result(step: Step, _: int) -> int:
    """Likewise, of a transposed convolution."""
    window = step.kernel() * step.input(1).shape[1]
    return math.prod(step.input(0).shape[2:]) * window * step.element()


_GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(step: Step, point: int) -> int:
    """Two for each element of a sequence and each weight of each gate."""
    long, rows, width = step.input(0).shapes[point]
    directions, _, hidden = step.input(2).shape
    gates = _GATES[step.operator] * hidden
    products = 2 * gates * (width + hidden) + _HARD * gates
    return directions * long * rows * products + easy(step, point)


def recurrent_scratch(step: Step, point: int) -> int:
    """Give what the gates of a whole sequence take."""
    long, rows, _ = step.input(0).shapes[point]
    directions, _, hidden = step.input(2).shape
    return 2 * directions * long * rows * _GATES[step.operator] * hidden * step.element()


def unique_scratch(step: Step, point: int) -> int:
    """Give what the tree of kinds takes, and the place of each element in it."""
    kinds, elements = step.output().size(point), step.input(0).size(point)
    return 300 * kinds + 40 * elements


def sorting_scratch(step: Step, point: int) -> int:
    """Give what a copy with places takes."""
    return step.input(0).size(point) * (step.element() + 8)
