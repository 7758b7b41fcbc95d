"""Tree arrays: decision trees as arrays, and how scikit-learn's are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NotCompilable(Exception):
    """An estimator uses something that no graph is made of; the text says what."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree, an entry for each node, the root first.

    `left` and `right` are node numbers (-1 in a leaf); rows with `x <= threshold` go left, and
    rows without a value where `missing_left` says so. `values` is [nodes, targets].
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    values: NDArray[np.float64]

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return self.left < 0


def tree_of(estimator: Any, scale: float = 1.0) -> Tree:
    """Read a fitted decision tree; its values are multiplied by `scale`."""
    tree = estimator.tree_
    values = np.asarray(tree.value, np.float64)
    if values.shape[1] != 1 and values.shape[2] != 1:
        raise NotCompilable("a tree with several outputs")
    left = np.asarray(tree.children_left, np.int64)
    missing = getattr(tree, "missing_go_to_left", None)
    return Tree(
        feature=np.maximum(np.asarray(tree.feature, np.int64), 0),
        threshold=np.asarray(tree.threshold, np.float64),
        left=left,
        right=np.asarray(tree.children_right, np.int64),
        missing_left=np.zeros(len(left), bool) if missing is None else np.asarray(missing, bool),
        values=scale * values.reshape(len(left), -1),
    )


def histogram_tree_of(predictor: Any, *, categories: bool = False) -> Tree:
    """Read one tree of histogram gradient boosting.

    Its splits on categories have no threshold; `categories` says that they are known.

    Raises:
        NotCompilable: it splits on categories, of which nobody knew.
    """
    nodes = predictor.nodes
    if not categories and bool(np.any(nodes["is_categorical"][nodes["is_leaf"] == 0])):
        raise NotCompilable("histogram gradient boosting that splits on categories")
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
    )


def constant_tree(value: float) -> Tree:
    """Make a tree of one leaf: what every sum starts with."""
    none = np.array([-1], np.int64)
    return Tree(
        feature=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        left=none,
        right=none,
        missing_left=np.zeros(1, bool),
        values=np.array([[value]]),
    )


def leaf_numbers(trees: Sequence[Tree]) -> tuple[list[Tree], NDArray[np.float64]]:
    """Give trees whose leaves hold their own number, and the leaves' values [leaves, targets].

    Leaves are counted through all trees.
    """
    numbered, tables, start = [], [], 0
    for tree in trees:
        leaves = np.flatnonzero(tree.is_leaf)
        values = np.zeros((len(tree.left), 1))
        values[leaves, 0] = np.arange(start, start + len(leaves))
        start += len(leaves)
        tables.append(tree.values[leaves])
        numbered.append(replace(tree, values=values))
    return numbered, np.concatenate(tables)
