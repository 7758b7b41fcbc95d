"""XGBoost trees, read from what its booster saves as JSON.

XGBoost rounds a row to float32, takes `x < threshold`, and adds leaves in float32. For a
float32, that is `x <= the next smaller float32`, which is the threshold that trees have here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable, Tree

_LIMIT: Final = 512 * 1024**2
_LEAST: Final = np.float32(1e-6)
_LINKS: Final = {
    "identity": (
        "reg:squarederror reg:squaredlogerror reg:absoluteerror reg:pseudohubererror "
        "reg:quantileerror"
    ),
    "logistic": "binary:logistic reg:logistic",
    "exponential": "count:poisson reg:gamma reg:tweedie survival:cox survival:aft",
    "softmax": "multi:softprob multi:softmax",
}


@dataclass(frozen=True, slots=True)
class XGBoosted:
    """Trees with each one's target, and what the sums begin with [targets].

    `link` is what turns sums into answers: identity, logistic, exponential or softmax.
    """

    trees: list[Tree]
    targets: list[int]
    base: NDArray[np.float32]
    objective: str
    link: str


def read_xgboost(model: Any) -> XGBoosted:
    """Read a fitted XGBClassifier or XGBRegressor.

    Raises:
        NotCompilable: it has no trees, or some that no graph is made of.
    """
    if callable(model.objective):
        raise NotCompilable("XGBoost with an objective of its own")
    return _read(model.get_booster(), getattr(model, "best_iteration", None))


@lru_cache(maxsize=2)
def _read(booster: Any, best_iteration: int | None) -> XGBoosted:
    raw = booster.save_raw("json")
    if len(raw) > _LIMIT:
        raise NotCompilable(f"XGBoost's trees take {len(raw):,} bytes, more than {_LIMIT:,}")
    learner = json.loads(bytes(raw))["learner"]
    boosted = _gradient_booster(learner["gradient_booster"])
    objective = str(learner["objective"]["name"])
    link = _link(objective)
    count = len(boosted["trees"])
    if best_iteration is not None:  # XGBoost's own predict leaves out what came later
        count = boosted["iteration_indptr"][best_iteration + 1]
    trees = [_tree(item) for item in boosted["trees"][:count]]
    targets = boosted["tree_info"][:count]
    return XGBoosted(trees, targets, _base(learner, link), objective, link)


def _link(objective: str) -> str:
    for link, objectives in _LINKS.items():
        if objective in objectives.split():
            return link
    raise NotCompilable(f"XGBoost of {objective}")


def _gradient_booster(found: Mapping[str, Any]) -> Mapping[str, Any]:
    name = found["name"]
    if name == "dart":
        if any(weight != 1 for weight in found["weight_drop"]):
            raise NotCompilable("XGBoost's dart with trees that it weighs")
        found = found["gbtree"]
    elif name != "gbtree":
        raise NotCompilable(f"XGBoost's {name}")
    model: Mapping[str, Any] = found["model"]
    return model


def _tree(found: Mapping[str, Any]) -> Tree:
    if any(found["split_type"]):
        raise NotCompilable("XGBoost that splits on categories")
    if int(found["tree_param"]["size_leaf_vector"]) > 1:
        raise NotCompilable("XGBoost's trees with several outputs")
    left = np.array(found["left_children"], np.int64)
    # In a leaf, this is its value.
    conditions = np.array(found["split_conditions"], np.float32)
    below = np.nextafter(conditions, np.float32(-np.inf))
    return Tree(
        feature=np.array(found["split_indices"], np.int64),
        threshold=below.astype(np.float64),
        left=left,
        right=np.array(found["right_children"], np.int64),
        missing_left=np.array(found["default_left"], bool),
        values=np.where(left < 0, conditions, 0.0).astype(np.float64).reshape(-1, 1),
    )


def _base(learner: Mapping[str, Any], link: str) -> NDArray[np.float32]:
    """Give what each target's sum begins with: the base score, before its link."""
    found = learner["learner_model_param"]
    width = max(int(found["num_class"]), int(found["num_target"]), 1)
    scores = np.atleast_1d(np.array(json.loads(found["base_score"]), np.float32))
    if link == "logistic":
        # Of one class alone it would be infinite; XGBoost keeps away from there.
        scores = np.clip(scores, _LEAST, 1 - _LEAST)
        scores = -np.log((1 / scores - 1).astype(np.float64))
    elif link == "exponential":
        scores = np.log(scores.astype(np.float64))
    return np.broadcast_to(scores.astype(np.float32), width)
