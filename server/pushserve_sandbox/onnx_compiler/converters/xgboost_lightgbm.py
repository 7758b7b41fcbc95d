"""XGBoost and LightGBM estimators: their converters for skl2onnx."""

from __future__ import annotations

from pushserve_sandbox.onnx_compiler.converters import lightgbm_graph, xgboost_graph
from pushserve_sandbox.onnx_compiler.converters.registration import (
    classifier_types,
    register_converter,
)
from pushserve_sandbox.onnx_compiler.trees.booster_trees import LIGHTGBM, XGBOOST, imported_classes


def register() -> None:
    """Make skl2onnx use our converters for them. May be called again."""
    for graph, package, names in (
        (xgboost_graph, "xgboost", XGBOOST),
        (lightgbm_graph, "lightgbm", LIGHTGBM),
    ):
        for kind in imported_classes(package, names[0]):
            register_converter(kind, classifier_types, graph.classifier)
        for kind in imported_classes(package, names[1]):
            register_converter(kind, graph.regressor_types, graph.regressor)
