"""Boosters: XGBoost's and LightGBM's estimators, where installed, and their trees.

A package that nobody has imported has no estimator here, and is not imported for this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from pushserve_sandbox.onnx_compiler.trees.lightgbm_trees import read_lightgbm
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import Tree
from pushserve_sandbox.onnx_compiler.trees.xgboost_trees import read_xgboost

XGBOOST: Final = (("XGBClassifier", "XGBRFClassifier"), ("XGBRegressor", "XGBRFRegressor"))
LIGHTGBM: Final = (("LGBMClassifier",), ("LGBMRegressor",))
"""Names of the classifiers, then of the regressors."""


def booster_trees(estimator: Any) -> list[Tree]:
    """Give the trees of one of these estimators; of any other, none.

    Raises:
        NotCompilable: no graph is made of them.
    """
    if isinstance(estimator, imported_classes("xgboost", (*XGBOOST[0], *XGBOOST[1]))):
        return read_xgboost(estimator).trees
    if isinstance(estimator, imported_classes("lightgbm", (*LIGHTGBM[0], *LIGHTGBM[1]))):
        return read_lightgbm(estimator).trees
    return []


def imported_classes(package: str, names: Sequence[str]) -> tuple[type[Any], ...]:
    """Give a package's classes of these names; none where nobody has imported the package."""
    module = sys.modules.get(package)
    found = [getattr(module, name, None) for name in names]
    return tuple(kind for kind in found if kind is not None)
