"""Tree arrays: decision trees as arrays, and many of them as one TreeEnsemble of doubles.

scikit-learn compares `float32(x) <= threshold` with a threshold of float64, and adds up
leaves in float64, one tree after the other. TreeEnsemble (ai.onnx.ml 5), unlike the older
TreeEnsembleRegressor, gives doubles, and on one thread sums in that order: the bits are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushserve_sandbox.onnx_compiler.graph.nodes import tensor

NODES_LIMIT = 2_000_000


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


def ensemble_attributes(
    trees: Sequence[Tree], targets: Sequence[int], width: int, numbers: type[Any] = np.float64
) -> dict[str, Any]:
    """Give the attributes of a TreeEnsemble (ai.onnx.ml 5) that sums trees into `width` targets.

    Every tree has one value for each leaf, which is added to that tree's target. In the
    operator's form, leaves are numbered apart from nodes, and a tree starts with a node.
    `numbers` is the type of its input, thresholds, leaves and sums.

    Raises:
        NotCompilable: there are too many nodes.
    """
    if sum(len(tree.left) for tree in trees) > NODES_LIMIT:
        raise NotCompilable(f"more than {NODES_LIMIT} tree nodes")
    parts = []
    node_start = leaf_start = 0
    for tree, target in zip(trees, targets, strict=True):
        parts.append(_part(tree, target, node_start, leaf_start))
        node_start += len(parts[-1]["nodes_featureids"])
        leaf_start += len(parts[-1]["leaf_weights"])
    sizes = [len(part["nodes_featureids"]) for part in parts]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    joined = {
        name: values.astype(numbers) if values.dtype == np.float64 else values
        for name, values in joined.items()
    }
    tensors = ("nodes_splits", "nodes_modes", "leaf_weights")
    return {
        "n_targets": width,
        "aggregate_function": 1,  # SUM
        "post_transform": 0,  # NONE
        "tree_roots": (np.cumsum([0, *sizes[:-1]])).tolist(),
        **{name: tensor(joined[name]) for name in tensors},
        **{name: joined[name].tolist() for name in joined if name not in tensors},
    }


def _part(tree: Tree, target: int, node_start: int, leaf_start: int) -> dict[str, NDArray[Any]]:
    leaf = tree.is_leaf
    numbers = np.where(leaf, leaf_start + np.cumsum(leaf) - 1, node_start + np.cumsum(~leaf) - 1)
    inner = np.flatnonzero(~leaf)
    left, right = tree.left[inner], tree.right[inner]
    if len(inner) == 0:  # a node that leads to the only leaf on both sides
        inner = left = right = np.zeros(1, np.int64)
    return {
        "nodes_featureids": tree.feature[inner],
        "nodes_splits": tree.threshold[inner],
        "nodes_modes": np.zeros(len(inner), np.uint8),  # BRANCH_LEQ
        "nodes_truenodeids": numbers[left],
        "nodes_falsenodeids": numbers[right],
        "nodes_trueleafs": leaf[left].astype(np.int64),
        "nodes_falseleafs": leaf[right].astype(np.int64),
        "nodes_missing_value_tracks_true": tree.missing_left[inner].astype(np.int64),
        "leaf_targetids": np.full(int(leaf.sum()), target, np.int64),
        "leaf_weights": tree.values[leaf, 0],
    }
