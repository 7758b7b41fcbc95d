"""Imputer converter: SimpleImputer over doubles and texts, with its indicator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.impute import SimpleImputer

from pushserve_runtime.onnx_predictor import NULL_TEXT
from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_TEXT_KINDS: Final = "OU"


def register() -> None:
    """Make skl2onnx use this converter. May be called again."""
    register_converter(SimpleImputer, _types, _impute)


def _types(operator: Any) -> None:
    model = operator.raw_operator
    texts = isinstance(operator.inputs[0].type, StringTensorType)
    kind = StringTensorType if texts else DoubleTensorType
    width = len(_kept(model))
    if model.indicator_ is not None:
        if texts:
            raise NotCompilable("a SimpleImputer of texts that adds an indicator")
        width += len(model.indicator_.features_)
    operator.outputs[0].set_type(kind([None, width]))


def _impute(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    if model.statistics_.dtype.kind in _TEXT_KINDS:
        missing = NULL_TEXT if _is_nan(model.missing_values) else str(model.missing_values)
        fill = nodes.constant(np.array([str(item) for item in model.statistics_], object))
        mask = nodes.add("Equal", [source, nodes.constant(np.array([missing], object))])
        nodes.add("Where", [mask, fill, source], outputs[0])
        return
    doubles = nodes.cast(source, TensorProto.DOUBLE)
    if _is_nan(model.missing_values):
        mask = nodes.add("IsNaN", [doubles])
    else:
        mask = nodes.add("Equal", [doubles, nodes.constant(float(model.missing_values))])
    kept = _kept(model)
    statistics = np.nan_to_num(np.asarray(model.statistics_, np.float64))
    filled = nodes.add("Where", [mask, nodes.constant(statistics), doubles])
    parts = [nodes.add("Gather", [filled, nodes.constant(kept)], axis=1)]
    if model.indicator_ is not None:
        chosen = np.asarray(model.indicator_.features_, np.int64)
        part = nodes.add("Gather", [mask, nodes.constant(chosen)], axis=1)
        parts.append(nodes.cast(part, TensorProto.DOUBLE))
    nodes.add("Concat", parts, outputs[0], axis=1)


def _kept(model: Any) -> Any:
    """Numbers of the columns that are not dropped for having had no value at all."""
    statistics = model.statistics_
    if statistics.dtype.kind in _TEXT_KINDS or model.keep_empty_features:
        return np.arange(len(statistics))
    return np.flatnonzero(~np.isnan(statistics))


def _is_nan(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value)))
