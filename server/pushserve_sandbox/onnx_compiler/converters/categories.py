"""Categories as numbers in a graph: which of a column's known values a row has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import StringTensorType

from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_MOST_NUMBERS: Final = 5_000
_WHOLE: Final = 2.0**53
"""Whole numbers below are doubles, each its own; no larger one is rounded to any of these."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column [rows, 1] of a graph, of texts or of doubles."""

    name: str
    is_text: bool


Convert = Callable[[Nodes, Any, Sequence[Column], Sequence[str]], None]


def register_columns_converter(
    kind: type[Any],
    types: Callable[[Any], None],
    convert: Convert,
    options: dict[str, Any] | None = None,
) -> None:
    """Have estimators of a class converted by `convert(nodes, estimator, columns, outputs)`."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        nodes = Nodes(scope, container)
        outputs = [item.full_name for item in operator.outputs]
        convert(nodes, operator.raw_operator, columns_of(nodes, operator), outputs)

    alias = f"Pushserve{kind.__name__}"
    update_registered_converter(kind, alias, types, converter, options=options)


def columns_of(nodes: Nodes, operator: Any) -> list[Column]:
    """Take the inputs of an operator apart."""
    columns = []
    for item in operator.inputs:
        is_text = isinstance(item.type, StringTensorType)
        name, width = item.full_name, item.type.shape[1]
        if not is_text:
            name = nodes.cast(name, TensorProto.DOUBLE)
        if width is None:
            width = operator.raw_operator.n_features_in_
        for i in range(width):
            part = nodes.add("Gather", [name, nodes.constant(np.array([i]))], axis=1)
            columns.append(Column(part if width > 1 else name, is_text))
    return columns


def category_number(nodes: Nodes, column: Column, categories: NDArray[Any]) -> str:
    """Give the number of each row's category [rows, 1]; an unknown value's is the next one."""
    count = len(categories)
    if column.is_text:
        keys = [item for item in categories.tolist() if isinstance(item, str)]
        if len(set(keys)) < count:
            raise NotCompilable("an encoder of texts that knows values of other types")
        return nodes.add_ml(
            "LabelEncoder",
            [column.name],
            keys_strings=keys,
            values_int64s=list(range(count)),
            default_int64=count,
        )
    return _number_among(nodes, column.name, _as_numbers(categories))


def _as_numbers(categories: NDArray[Any]) -> NDArray[np.float64]:
    if len(categories) > _MOST_NUMBERS:
        raise NotCompilable(f"an encoder of more than {_MOST_NUMBERS:,} numbers")
    if any(isinstance(item, str) for item in categories.tolist()):
        raise NotCompilable("an encoder of numbers that knows texts")
    try:
        numbers = categories.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise NotCompilable("an encoder of values that are not numbers") from error
    if (np.abs(numbers[np.isfinite(numbers)]) >= _WHOLE).any():
        raise NotCompilable("an encoder of numbers that a double does not hold exactly")
    return numbers


def _number_among(nodes: Nodes, source: str, known: NDArray[np.float64]) -> str:
    """Find the first equal one; a missing value equals a missing one."""
    equal = nodes.add("Equal", [source, nodes.constant(known.reshape(1, -1))])
    if np.isnan(known).any():
        missing = nodes.constant(np.isnan(known).reshape(1, -1))
        both = nodes.add("And", [nodes.add("IsNaN", [source]), missing])
        equal = nodes.add("Or", [equal, both])
    found = nodes.cast(equal, TensorProto.FLOAT)
    # What comes last is found where nothing else is.
    rest = nodes.cast(nodes.add("Equal", [source, source]), TensorProto.FLOAT)
    rest = nodes.add("Add", [nodes.add("Mul", [rest, _single(nodes, 0.0)]), _single(nodes, 0.5)])
    return nodes.add("ArgMax", [nodes.add("Concat", [found, rest], axis=1)], axis=1, keepdims=1)


def _single(nodes: Nodes, value: float) -> str:
    return nodes.constant(np.float32(value))


def looked_up(nodes: Nodes, numbers: str, table: NDArray[Any], *, refuses: bool = False) -> str:
    """Give the rows [rows, width] of a table that numbers [rows, 1] say.

    With `refuses`, a number that the table does not have is refused; else there must be none.
    """
    flat = nodes.add("Reshape", [numbers, nodes.constant(np.array([-1]))])
    if refuses:
        return nodes.gather_or_refuse(nodes.constant(table), flat)
    return nodes.add("Gather", [nodes.constant(table), flat], axis=0)
