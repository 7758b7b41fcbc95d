"""Operators of the standard domain that may run in a server process, each with its limits.

This is a security decision: an operator that is not named here runs in a sandboxed worker. One
is let in when what it gives has a size that its inputs' sizes decide, when it reads nothing
outside of them, whatever the values, and when what it costs is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pushserve_sandbox.admission import costs
from pushserve_sandbox.admission.costs import Cost
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.step import Step
from pushserve_sandbox.admission.tensors import INTEGERS, Tensor, fixed_axes

Check = Callable[[Step], None]
_NO_END: Final = 2**31 - 1
"""Exporters write it, or more, for "to the end"."""


@dataclass(frozen=True, slots=True)
class Operator:
    """What is asked of a node before and what it costs; `scratch` is bytes beside its outputs."""

    work: Cost = costs.easy
    check: Check | None = None
    scratch: Cost | None = None


def _check_division(step: Step) -> None:
    """Whole numbers by constants alone: a division by zero, or of the least by -1, is a crash."""
    if step.input(0).kind not in INTEGERS:
        return
    divisor = step.input(1)
    if not divisor.constant or divisor.values is None:
        raise NotAdmitted(f"{step.operator} of whole numbers by what is no constant")
    if bool(np.isin(divisor.values.array, (0, -1)).any()):
        raise NotAdmitted(f"{step.operator} of whole numbers by 0 or -1")


def _check_power(step: Step) -> None:
    """Whole numbers to a power take a loop."""
    if step.input(0).kind in INTEGERS:
        raise NotAdmitted("Pow of whole numbers")


def _check_slope(step: Step) -> None:
    """ONNX Runtime widens the input to the slope's shape, which ONNX does not know of."""
    source, slope = step.input(0), step.input(1)
    for own, other in zip(source.shapes, slope.shapes, strict=True):
        if np.broadcast_shapes(own, other) != own:
            raise NotAdmitted("PRelu by a slope that is wider than its input")


def _check_slice(step: Step) -> None:
    source = step.input(0)
    if step.node.input[1:]:
        starts, ends = (step.input(i).fixed_values("Slice from a place") for i in (1, 2))
        axes = _optional(step, 3, np.arange(len(starts)))
        steps = _optional(step, 4, np.ones(len(starts), np.int64))
    else:
        starts, ends = (step.attributes.integers(name) for name in ("starts", "ends"))
        axes = step.attributes.integers("axes")
        axes = axes if len(axes) else np.arange(len(starts))
        steps = np.ones(len(starts), np.int64)
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        if (start, stride) != (0, 1) or end < _NO_END:
            fixed_axes(source, [_counted(int(axis), source)], "Slice")


def _check_split(step: Step) -> None:
    fixed_axes(step.input(0), [step.axis()], "Split")


def _check_pad(step: Step) -> None:
    source = step.input(0)
    if not step.given(1):
        raise NotAdmitted("Pad of an old operator set")
    pads = step.input(1).fixed_values("Pad by a number")
    axes = _optional(step, 3, np.arange(source.rank))
    before, after = pads.reshape(2, len(axes))
    padded = [a for a, b, c in zip(axes, before, after, strict=True) if b or c]
    fixed_axes(source, [_counted(int(axis), source) for axis in padded], "Pad")


def _check_squeeze(step: Step) -> None:
    """Without axes, which ones go would depend on whether there is one row."""
    if not step.given(1) and "axes" not in step.attributes and step.input(0).moves:
        raise NotAdmitted("Squeeze of axes that it does not name")


def _check_top(step: Step) -> None:
    fixed_axes(step.input(0), [step.axis(-1)], "TopK")
    step.input(1).fixed_values("TopK of a number")


def _check_one_hot(step: Step) -> None:
    step.input(1).fixed_values("OneHot of a depth")


def _check_range(step: Step) -> None:
    """Ranges of constants, and those that count rows."""
    start, limit, stride = (step.input(i) for i in range(3))
    if limit.values is None:
        raise NotAdmitted("Range to a number that is known only when it runs")
    ends = [item.fixed_values("Range from a number") for item in (start, stride)]
    if limit.values.is_fixed:
        return
    if [end.tolist() for end in ends] != [0, 1]:
        raise NotAdmitted("Range to a number of rows from other than 0 by other than 1")


def _check_window(step: Step) -> None:
    """Convolutions and pools move over axes whose lengths are known; rows come first."""
    source = step.input(0)
    fixed_axes(source, range(1, source.rank), step.operator)
    for i in range(1, len(step.inputs)):
        if step.given(i) and step.input(i).moves:
            raise NotAdmitted(f"{step.operator} by weights whose number a request decides")
    if step.attributes.integer("ceil_mode"):
        raise NotAdmitted(f"{step.operator} that rounds up")
    if step.attributes.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        _check_auto_pad(step)


def _check_auto_pad(step: Step) -> None:
    if step.operator == "ConvTranspose":
        raise NotAdmitted("ConvTranspose with auto_pad")


def _check_channels(step: Step) -> None:
    source = step.input(0)
    fixed_axes(source, range(1, source.rank), step.operator)


def _check_resize(step: Step) -> None:
    """Scales are rounded by each implementation in its way, so they have to give whole lengths."""
    source = step.input(0)
    fixed_axes(source, range(1, source.rank), "Resize")
    if step.given(3):
        sizes = step.input(3).values
        if sizes is None or bool(sizes.moving[1:].any()):
            raise NotAdmitted("Resize to a size that is known only when it runs")
        return
    scales = step.input(2).fixed_values("Resize by a scale")
    if scales.shape != (source.rank,) or scales[0] != 1:
        raise NotAdmitted("Resize of the rows")
    lengths = np.asarray(source.shape, float) * scales
    if not np.array_equal(lengths[1:], np.round(lengths[1:])):
        raise NotAdmitted("Resize to lengths that are no whole numbers")


def _check_recurrent(step: Step) -> None:
    for i in (1, 2):
        if step.input(i).moves:
            raise NotAdmitted(f"{step.operator} by weights whose number a request decides")


def _check_training(step: Step) -> None:
    if step.attributes.integer("training_mode"):
        raise NotAdmitted(f"{step.operator} as in training")
    if step.operator == "Dropout" and step.given(2):
        training = step.input(2).fixed_values("Dropout in a mode")
        if bool(training.any()):
            raise NotAdmitted("Dropout as in training")


def _optional(step: Step, number: int, default: np.ndarray) -> np.ndarray:
    if not step.given(number):
        return default
    return step.input(number).fixed_values(f"{step.operator} along an axis")


def _counted(axis: int, tensor: Tensor) -> int:
    if not -tensor.rank <= axis < tensor.rank:
        raise NotAdmitted("an axis that does not exist")
    return axis % tensor.rank


def _named(names: str, operator: Operator) -> dict[str, Operator]:
    return dict.fromkeys(names.split(), operator)


OPERATORS: Final[dict[str, Operator]] = {
    **_named(
        "Abs Add And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip CumSum "
        "DequantizeLinear Equal Floor Greater GreaterOrEqual Identity IsInf IsNaN LeakyRelu Less "
        "LessOrEqual Max Mean Min Mul Neg Not Or QuantizeLinear Relu Round Sign Sub Sum "
        "ThresholdedRelu Trilu Where Xor",
        Operator(),
    ),
    **_named(
        "Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Elu Erf Exp Gelu "
        "HardSigmoid HardSwish Hardmax InstanceNormalization LayerNormalization Log LogSoftmax "
        "LpNormalization MeanVarianceNormalization Mish Reciprocal Selu Shrink "
        "Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh",
        Operator(costs.hard),
    ),
    **_named(
        "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum ReduceSumSquare",
        Operator(costs.hard),
    ),
    **_named(
        "Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND Reshape "
        "Shape Size Tile Transpose Unsqueeze",
        Operator(costs.written),
    ),
    **_named("ScatterElements ScatterND", Operator()),
    **_named("Div Mod", Operator(check=_check_division)),
    **_named("BatchNormalization Dropout", Operator(check=_check_training)),
    **_named("Conv", Operator(costs.convolution, _check_window, costs.unfolded)),
    **_named(
        "ConvTranspose",
        Operator(costs.transposed_convolution, _check_window, costs.unfolded_result),
    ),
    **_named("AveragePool LpPool MaxPool", Operator(costs.pool, _check_window)),
    **_named(
        "DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool SpaceToDepth",
        Operator(costs.hard, _check_channels),
    ),
    **_named("GRU LSTM RNN", Operator(costs.recurrent, _check_recurrent, costs.recurrent_scratch)),
    **_named("Gemm MatMul", Operator(costs.matrix_product)),
    "OneHot": Operator(check=_check_one_hot),
    "PRelu": Operator(check=_check_slope),
    "Pad": Operator(check=_check_pad),
    "Pow": Operator(costs.hard, _check_power),
    "Range": Operator(check=_check_range),
    "Resize": Operator(costs.hard, _check_resize),
    "Slice": Operator(costs.written, _check_slice),
    "Split": Operator(costs.written, _check_split),
    "Squeeze": Operator(costs.written, _check_squeeze),
    "TopK": Operator(costs.sort, _check_top, costs.sorting_scratch),
    "Unique": Operator(costs.sort, scratch=costs.unique_scratch),
}
