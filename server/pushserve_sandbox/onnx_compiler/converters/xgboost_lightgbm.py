"""XGBoost and LightGBM estimators, where these packages are installed.

A package that nobody has imported has no estimator here, and is not imported for this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from pushserve_sandbox.onnx_compiler.converters import lightgbm_graph, xgboost_graph
from pushserve_sandbox.onnx_compiler.converters.registration import (
    classifier_types,
    register_converter,
)
from pushserve_sandbox.onnx_compiler.trees.lightgbm_trees import read_lightgbm
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import Tree
from pushserve_sandbox.onnx_compiler.trees.xgboost_trees import read_xgboost

_XGBOOST: Final = (("XGBClassifier", "XGBRFClassifier"), ("XGBRegressor", "XGBRFRegressor"))
_LIGHTGBM: Final = (("LGBMClassifier",), ("LGBMRegressor",))


def register() -> None:
    """Make skl2onnx use our converters for them. May be called again."""
    for graph, package, names in (
        (xgboost_graph, "xgboost", _XGBOOST),
        (lightgbm_graph, "lightgbm", _LIGHTGBM),
    ):
        for kind in _kinds(package, names[0]):
            register_converter(kind, classifier_types, graph.classifier)
        for kind in _kinds(package, names[1]):
            register_converter(kind, graph.regressor_types, graph.regressor)


def booster_trees(estimator: Any) -> list[Tree]:
    """Give the trees of one of these estimators; of any other, none.

    Raises:
        NotCompilable: no graph is made of them.
    """
    if isinstance(estimator, _kinds("xgboost", (*_XGBOOST[0], *_XGBOOST[1]))):
        return read_xgboost(estimator).trees
    if isinstance(estimator, _kinds("lightgbm", (*_LIGHTGBM[0], *_LIGHTGBM[1]))):
        return read_lightgbm(estimator).trees
    return []


def _kinds(package: str, names: Sequence[str]) -> tuple[type[Any], ...]:
    module = sys.modules.get(package)
    found = [getattr(module, name, None) for name in names]
    return tuple(kind for kind in found if kind is not None)
