"""LightGBM trees, read from its own dump.

LightGBM compares doubles, `x <= threshold`, and adds leaves as doubles. Numbers next to zero
are zero to it. Each split says what a missing value is there: none (NaN is then zero), NaN, or
zero and NaN; and to which side one goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable, Tree

NEXT_TO_ZERO: Final = float(np.float32(1e-35))


@dataclass(frozen=True, slots=True)
class LightGBMTrees:
    """Trees with each one's target.

    `objective` is LightGBM's name of it with its parameters. `zero_is_missing` are the features
    where it is. `divisor` is what sums are divided by.
    """

    trees: list[Tree]
    targets: list[int]
    width: int
    objective: tuple[str, ...]
    zero_is_missing: tuple[int, ...]
    divisor: int

    def parameter(self, name: str, default: float) -> float:
        """Give a number that stands behind the objective's name, such as sigmoid:1."""
        for item in self.objective[1:]:
            key, _, value = item.partition(":")
            if key == name:
                return float(value)
        return default


def read_lightgbm(model: Any) -> LightGBMTrees:
    """Read a fitted LGBMClassifier or LGBMRegressor.

    Raises:
        NotCompilable: it has trees that no graph is made of.
    """
    return _read(model.booster_)


@lru_cache(maxsize=2)
def _read(booster: Any) -> LightGBMTrees:
    found = booster.dump_model()  # up to the best iteration, as its predict does
    objective = tuple(str(found.get("objective", "")).split())
    if not objective or objective[0] == "custom":
        raise NotCompilable("LightGBM with an objective of its own")
    width = int(found["num_tree_per_iteration"])
    readings = [_Reading() for _ in found["tree_info"]]
    trees = [
        reading.tree(item["tree_structure"])
        for reading, item in zip(readings, found["tree_info"], strict=True)
    ]
    return LightGBMTrees(
        trees=trees,
        targets=[i % width for i in range(len(trees))],
        width=width,
        objective=objective,
        zero_is_missing=_zero_is_missing(readings),
        divisor=len(trees) // width if found["average_output"] else 1,
    )


def _zero_is_missing(readings: Sequence[_Reading]) -> tuple[int, ...]:
    """Name the features for which zero is a missing value, in every tree."""
    kinds: dict[int, set[str]] = {}
    for reading in readings:
        for feature, kind in reading.kinds:
            kinds.setdefault(feature, set()).add(kind)
    if any("Zero" in found and len(found) > 1 for found in kinds.values()):
        raise NotCompilable("LightGBM where zero is a missing value in a part of the trees")
    return tuple(sorted(feature for feature, found in kinds.items() if "Zero" in found))


class _Node(NamedTuple):
    feature: int = 0
    threshold: float = 0.0
    left: int = -1
    right: int = -1
    missing_left: bool = False
    value: float = 0.0


class _Reading:
    """Collects the nodes of one tree; `kinds` are the features with their missing values."""

    def __init__(self) -> None:
        self.kinds: set[tuple[int, str]] = set()
        self._nodes: list[_Node] = []

    def tree(self, root: Mapping[str, Any]) -> Tree:
        """Read a tree, every node before those below it."""
        self._nodes.append(self._node(root))
        todo = [(0, root)]
        while todo:
            number, node = todo.pop()
            if "split_feature" not in node:
                continue
            children = [node["left_child"], node["right_child"]]
            at = len(self._nodes)
            self._nodes[number] = self._nodes[number]._replace(left=at, right=at + 1)
            self._nodes += [self._node(child) for child in children]
            todo += [(at, children[0]), (at + 1, children[1])]
        feature, threshold, left, right, missing, value = zip(*self._nodes, strict=True)
        return Tree(
            feature=np.array(feature, np.int64),
            threshold=np.array(threshold, np.float64),
            left=np.array(left, np.int64),
            right=np.array(right, np.int64),
            missing_left=np.array(missing, bool),
            values=np.array(value, np.float64).reshape(-1, 1),
        )

    def _node(self, found: Mapping[str, Any]) -> _Node:
        if "split_feature" not in found:
            if "leaf_coeff" in found:
                raise NotCompilable("LightGBM's linear trees")
            return _Node(value=float(found["leaf_value"]))
        if found["decision_type"] != "<=":
            raise NotCompilable("LightGBM that splits on categories")
        feature, threshold = int(found["split_feature"]), float(found["threshold"])
        kind = str(found["missing_type"])
        self.kinds.add((feature, kind))
        missing_left = threshold >= 0 if kind == "None" else bool(found["default_left"])
        return _Node(feature, threshold, missing_left=missing_left)
