"""Mark converter: a node of a domain of our own, until the graph is whole."""

from __future__ import annotations

from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

from pushserve_sandbox.onnx_compiler.graph.marks import MARK, Mark
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.sparse import DOMAIN


def register() -> None:
    """Make skl2onnx use this converter. May be called again."""
    update_registered_converter(Mark, "PushserveMark", _same_type, _convert)


def _same_type(operator: Any) -> None:
    given = operator.inputs[0].type
    kinds = (StringTensorType, DoubleTensorType, FloatTensorType)
    kind = next((k for k in kinds if isinstance(given, k)), type(given))
    operator.outputs[0].set_type(kind(list(given.shape)))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    mark, given = operator.raw_operator, operator.inputs[0]
    numbers = isinstance(given.type, DoubleTensorType)
    Nodes(scope, container).add(
        MARK,
        [given.full_name],
        operator.outputs[0].full_name,
        op_domain=DOMAIN,
        op_version=1,
        number=mark.number,
        refuses=mark.refuses if numbers else "",
    )
