"""Values that shapes are made of: constants, and lengths that a request decides.

A length that moves is only let through steps that keep it a sum of products with coefficients
that are not negative (it is moved about, added, multiplied). What else is done to it is not
followed, so that nothing can be as large as it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.reference import ReferenceEvaluator

from pushserve_sandbox.admission.tensors import INTEGERS, MOST_VALUES, Tensor, Values

_MOVED: Final[dict[str, tuple[int, ...] | None]] = {
    "Cast": (0,),
    "Concat": None,
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "Identity": (0,),
    "Reshape": (0,),
    "Slice": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
}
"""What only moves values about, and which inputs these are (None is all of them)."""
_FIXED: Final = frozenset(
    {
        *_MOVED,
        *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Floor", "Ceil"),
        *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not"),
        *("ConstantOfShape", "Range", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"),
    }
)
"""What is evaluated where all values are fixed: exact, and the same in every implementation."""
_NUMBERS: Final = INTEGERS | {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL}
_LARGEST: Final = 2**31
"""Values at and beyond are not followed: casts of them differ from machine to machine."""


def evaluate(
    node: NodeProto, inputs: Sequence[Tensor | None], output: Tensor, version: int
) -> Values | None:
    """Give the values of a node's one output, or None where they are not followed."""
    if output.moves or output.size(0) > MOST_VALUES or output.kind not in _NUMBERS:
        return None
    if node.op_type not in _FIXED and node.op_type not in _GROWING:
        return None
    known = [item.values for item in inputs if item is not None]
    if any(values is None for values in known):
        return None
    given = [None if item is None else item.values for item in inputs]
    try:
        return _evaluated(_Step(node, version), given)
    except Exception:  # noqa: BLE001 (what the reference raises is its own; nothing is known then)
        return None


class _Step:
    """One node, to be run on arrays."""

    def __init__(self, node: NodeProto, version: int) -> None:
        self.kind = node.op_type
        self._names = list(node.input)
        self._reference = ReferenceEvaluator(node, opsets={"": version})

    def run(self, arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
        feed = {n: a for n, a in zip(self._names, arrays, strict=True) if a is not None}
        results: Any = self._reference.run(None, feed)
        return np.asarray(results[0])


def _evaluated(step: _Step, given: Sequence[Values | None]) -> Values | None:
    present = [values for values in given if values is not None]
    points = len(present[0].arrays) if present else 1
    if all(values.is_fixed for values in present):
        return _evaluate_fixed(step, given, points)
    arrays = tuple(
        step.run([None if values is None else values.arrays[i] for values in given])
        for i in range(points)
    )
    moving = _moving(step, given, arrays[0].shape)
    if moving is None or not all(_is_plain(array) for array in arrays):
        return None
    return Values(arrays, moving)


def _evaluate_fixed(step: _Step, given: Sequence[Values | None], points: int) -> Values | None:
    arrays = [None if values is None else values.array for values in given]
    if step.kind not in _FIXED or not all(a is None or _is_plain(a) for a in arrays):
        return None
    if step.kind == "Div" and any(bool((a < 0).any()) for a in arrays if a is not None):
        return None  # of whole numbers, some round down and some towards zero
    result = step.run(arrays)
    return Values.fixed(result, points) if _is_plain(result) else None


def _moving(
    step: _Step, given: Sequence[Values | None], shape: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Say which values of a result move; None where that cannot be told."""
    if step.kind in _MOVED:
        return _moved(step, given)
    growing = _GROWING.get(step.kind)
    return None if growing is None else growing([v for v in given if v is not None], shape)


def _moved(step: _Step, given: Sequence[Values | None]) -> NDArray[np.bool_] | None:
    places = _MOVED[step.kind]
    parts: list[NDArray[Any] | None] = []
    for i, values in enumerate(given):
        if values is None:
            parts.append(None)
        elif places is None or i in places:
            parts.append(values.moving.astype(np.int64))
        elif values.is_fixed:
            parts.append(values.array)
        else:
            return None
    if step.kind == "Cast" and not _is_exact_cast(step, given):
        return None
    return step.run(parts).astype(bool)


def _is_exact_cast(step: _Step, given: Sequence[Values | None]) -> bool:
    """Whether a cast goes to whole numbers: a fraction could be rounded down to a step."""
    values = given[0]
    assert values is not None  # noqa: S101 (a Cast has one input)
    return step.run([values.array]).dtype in (np.int32, np.int64)


def _all(given: Sequence[Values], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Whatever is added or multiplied moves, if no part is negative."""
    if any(bool((array < 0).any()) for values in given for array in values.arrays):
        return None
    return np.ones(shape, bool)


def _never_equal(given: Sequence[Values], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """A length is not below zero, so it is never equal to what is; exporters look for -1."""
    one, other = (np.broadcast_to(values.moving, shape) for values in given)
    first, second = (np.broadcast_to(values.array, shape) for values in given)
    unclear = (one & other) | (one & (second >= 0)) | (other & (first >= 0))
    return None if unclear.any() else np.zeros(shape, bool)


_GROWING: Final[
    dict[str, Callable[[Sequence[Values], tuple[int, ...]], NDArray[np.bool_] | None]]
] = {
    "Add": _all,
    "Mul": _all,
    "ReduceProd": _all,
    "ReduceSum": _all,
    "Equal": _never_equal,
}


def _is_plain(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite and of a size that every type and machine agrees on."""
    if array.dtype.kind == "b":
        return True
    largest = float(np.abs(array.astype(np.float64)).max(initial=0.0))
    return math.isfinite(largest) and (largest < _LARGEST or _is_end(array))


def _is_end(array: NDArray[Any]) -> bool:
    """Whether the large ones among whole numbers are the ends that slices have."""
    if array.dtype.kind not in "iu":
        return False
    large = array[np.abs(array.astype(np.float64)) >= _LARGEST]
    return bool(np.isin(large.astype(np.int64), _ENDS).all())


_INT32: Final = np.iinfo(np.int32)
_INT64: Final = np.iinfo(np.int64)
_ENDS: Final = np.array([_INT32.min, _INT64.min, _INT64.max], np.int64)
