"""TreeEnsemble: many decision trees as one operator, in doubles.

scikit-learn compares `float32(x) <= threshold` with a threshold of float64, and adds up
leaves in float64, one tree after the other. TreeEnsemble (ai.onnx.ml 5), unlike the older
TreeEnsembleRegressor, gives doubles, and on one thread sums in that order: the bits are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushserve_sandbox.onnx_compiler.graph.nodes import tensor
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable, Tree

NODES_LIMIT = 2_000_000


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
