"""Trees that may be loaded into a server process: no deeper than its stack, and really trees.

ONNX Runtime goes down a tree by recursion when it loads it, and reads a row at the number of a
feature without asking whether it has so many.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_sandbox.admission.attributes import Attributes
from pushserve_sandbox.admission.not_admitted import NotAdmitted

MOST_LEVELS: Final = 1000
"""A stack of 1 MiB holds more, by a margin."""
_MEMBER: Final = 6

Numbers = NDArray[np.int64]


def check_ensemble(attributes: Attributes, features: int) -> int:
    """Check a TreeEnsemble of ai.onnx.ml 5; give how many nodes a row comes by in all trees.

    Raises:
        NotAdmitted: its parts do not fit together, or it is too deep.
    """
    true, false = (attributes.integers(f"nodes_{side}nodeids") for side in ("true", "false"))
    leaf = [attributes.integers(f"nodes_{side}leafs").astype(bool) for side in ("true", "false")]
    modes = attributes.tensor("nodes_modes").astype(np.int64).reshape(-1)
    chosen = attributes.integers("nodes_featureids")
    leaves = attributes.length("leaf_weights")
    targets = attributes.integers("leaf_targetids")
    split = attributes.length("nodes_splits")
    _insist({len(item) for item in (true, false, *leaf, modes, chosen)} == {split})
    _insist(_within(chosen, features) and leaves == len(targets))
    _insist(_within(modes, _MEMBER))
    _insist(_within(targets, attributes.integer("n_targets", 1)))
    sides = list(zip((true, false), leaf, strict=True))
    for ids, ends in sides:
        _insist(_within(ids[ends], leaves) and _within(ids[~ends], len(true)))
    roots = attributes.integers("tree_roots")
    _insist(_within(roots, len(true)))
    children = [np.where(ends, -1, ids) for ids, ends in sides]
    return _levels(children[0], children[1], roots)


def check_older(attributes: Attributes, features: int, prefix: str, targets: int) -> int:
    """Check a TreeEnsembleRegressor ("target") or -Classifier ("class"); give what a row comes by.

    Raises:
        NotAdmitted: as for `check_ensemble`.
    """
    trees, ids = (attributes.integers(f"nodes_{name}ids") for name in ("tree", "node"))
    true, false = (attributes.integers(f"nodes_{side}nodeids") for side in ("true", "false"))
    modes = np.array(attributes.texts("nodes_modes"), dtype=object)
    chosen = attributes.integers("nodes_featureids")
    splits = max(attributes.length("nodes_values"), attributes.length("nodes_values_as_tensor"))
    lengths = {len(item) for item in (trees, ids, true, false, modes, chosen)}
    _insist(lengths == {splits})
    inner = modes != b"LEAF"
    _insist(_within(chosen[inner], features))
    numbers = _Numbering(trees, ids)
    children = [np.where(inner, numbers.of(trees, side), -1) for side in (true, false)]
    _insist(all(bool((side[inner] >= 0).all()) for side in children))
    _check_targets(attributes, prefix, numbers, inner, targets)
    _, roots = np.unique(trees, return_index=True)
    return _levels(children[0], children[1], roots)


def _check_targets(
    attributes: Attributes, prefix: str, numbers: _Numbering, inner: NDArray[Any], targets: int
) -> None:
    trees, nodes = (attributes.integers(f"{prefix}_{name}ids") for name in ("tree", "node"))
    given = attributes.integers(f"{prefix}_ids")
    weights = max(
        attributes.length(f"{prefix}_weights"), attributes.length(f"{prefix}_weights_as_tensor")
    )
    _insist(len({len(trees), len(nodes), len(given), weights}) == 1)
    _insist(_within(given, targets))
    places = numbers.of(trees, nodes)
    _insist(bool((places >= 0).all()) and not bool(inner[places].any()))


class _Numbering:
    """Nodes by tree and number, each of which stands for one node."""

    def __init__(self, trees: Numbers, ids: Numbers) -> None:
        _insist(len(ids) > 0 and _within(ids, 2**31) and _within(trees, 2**31))
        self._keys = trees << 31 | ids
        self._order = np.argsort(self._keys, kind="stable")
        self._sorted = self._keys[self._order]
        _insist(not bool((self._sorted[1:] == self._sorted[:-1]).any()))

    def of(self, trees: Numbers, ids: Numbers) -> Numbers:
        """Give each node's place, -1 where there is none."""
        keys = trees << 31 | ids
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        valid = (ids >= 0) & (ids < 2**31) & (trees >= 0) & (self._sorted[at] == keys)
        return np.where(valid, self._order[at], -1)


def _levels(true: Numbers, false: Numbers, roots: Numbers) -> int:
    """Go down all trees, level by level; give the sum of their depths.

    `true` and `false` are the nodes that a node leads to, -1 where that is a leaf.
    """
    nodes = len(true)
    children = np.concatenate([true, false, roots])
    parents = np.bincount(children[children >= 0], minlength=nodes)
    depth = np.zeros(len(roots), np.int64)
    level, tree, seen, number = roots, np.arange(len(roots)), len(roots), 0
    while len(level):
        number += 1
        if number > MOST_LEVELS:
            raise NotAdmitted(f"trees of more than {MOST_LEVELS:,} levels")
        depth[tree] = number
        below = np.concatenate([true[level], false[level]])
        tree = np.concatenate([tree, tree])[below >= 0]
        level = below[below >= 0]
        seen += len(level)
    if bool((parents != 1).any()) or seen != nodes:
        raise NotAdmitted("trees whose nodes have other than one parent each")
    return int(depth.sum())


def _within(numbers: Numbers, most: int) -> bool:
    return not len(numbers) or bool(numbers.min() >= 0 and numbers.max() < most)


def _insist(holds: bool) -> None:
    if not holds:
        raise NotAdmitted("trees whose parts do not fit together")
