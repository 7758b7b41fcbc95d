"""Registration: puts converters of our own into skl2onnx, in the place of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    Int64TensorType,
    StringTensorType,
)

from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

CLASSIFIER_OPTIONS: Final = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
}
"""What skl2onnx may ask of a classifier's converter; only "zipmap" is ever set here."""


def register_converter(
    kind: type[Any],
    types: Callable[[Any], None],
    convert: Callable[[Nodes, Any, str, Sequence[str]], None],
    options: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Have estimators of a class converted by `convert(nodes, estimator, input, outputs)`.

    `types` declares the types of the outputs, `options` what skl2onnx itself may ask for.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        outputs = [item.full_name for item in operator.outputs]
        convert(
            Nodes(scope, container), operator.raw_operator, operator.inputs[0].full_name, outputs
        )

    alias = f"Pushserve{kind.__name__}"
    asked = CLASSIFIER_OPTIONS if types is classifier_types else options
    update_registered_converter(kind, alias, types, converter, options=asked)


def classifier_types(operator: Any) -> None:
    """Declare a label of the classes' type, and one double for each class."""
    model = operator.raw_operator
    if isinstance(model.classes_, list):
        raise NotCompilable("a classifier with several outputs")
    kinds = {"b": BooleanTensorType, "f": DoubleTensorType, "i": Int64TensorType}
    label = kinds.get(model.classes_.dtype.kind, StringTensorType)
    operator.outputs[0].set_type(label([None]))
    operator.outputs[1].set_type(DoubleTensorType([None, len(model.classes_)]))


def regressor_types(operator: Any) -> None:
    """Declare one double for each target."""
    width = getattr(operator.raw_operator, "n_outputs_", 1)
    operator.outputs[0].set_type(DoubleTensorType([None, width]))


def add_label(nodes: Nodes, classes: Any, chosen: str, output: str) -> None:
    """Give the classes that `chosen` [rows] has the numbers of."""
    kind = classes.dtype.kind
    values = classes.astype(np.int64) if kind in "iu" else classes
    nodes.add("Gather", [nodes.constant(values), chosen], output)
