"""Quantile converter: skl2onnx's own, where its work is bounded."""

from __future__ import annotations

from typing import Any, Final

from skl2onnx import update_registered_converter
from skl2onnx.operator_converters.quantile_transformer import convert_quantile_transformer
from skl2onnx.shape_calculators.quantile_transformer import quantile_transformer_shape_calculator
from sklearn.preprocessing import QuantileTransformer

from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

_MOST: Final = 1_000
"""Quantiles of all columns: what that takes grows by their square."""


def register() -> None:
    """Make skl2onnx use this converter. May be called again."""
    update_registered_converter(
        QuantileTransformer,
        "PushserveQuantileTransformer",
        quantile_transformer_shape_calculator,
        _convert,
    )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    count = operator.raw_operator.quantiles_.size
    if count > _MOST:
        raise NotCompilable(f"a QuantileTransformer of {count:,} quantiles, more than {_MOST:,}")
    convert_quantile_transformer(scope, operator, container)
