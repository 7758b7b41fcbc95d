"""Threshold rows: on the thresholds of an estimator's trees, and one step to either side.

A row reaches a node deep in a tree only if it takes the right turn all the way down. So rows
are made inside the box that leads to a node, and are taken back from what the trees see to
what the estimator sees through the steps in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from pushserve_sandbox.onnx_compiler.proof.column_samples import branch_columns
from pushserve_sandbox.onnx_compiler.proof.inner_estimators import ways
from pushserve_sandbox.onnx_compiler.trees.booster_trees import booster_trees
from pushserve_sandbox.onnx_compiler.trees.category_splits import trial_trees
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import (
    NotCompilable,
    Tree,
    histogram_tree_of,
    tree_of,
)

_TREES: Final = 100
_WAYS: Final = 4
_POINTS: Final = 48
_MOST_KNOWN: Final = 512
_LARGE: Final = 200_000
_KEPT: Final = (
    *("cluster_centers_", "subcluster_centers_", "support_vectors_", "X_fit_", "X_train_"),
    *("means_", "centroids_", "theta_"),
)
"""Attributes that hold points, a row each."""
_INSIDE: Final = (
    *("estimators_", "estimator_", "regressor_", "calibrated_classifiers_", "_predictors"),
    "estimator",  # a calibrated classifier's
)
Matrix = NDArray[np.float64]


def threshold_rows(estimator: Any, columns: int, sites: int, random: np.random.Generator) -> Matrix:
    """Make rows [n, columns] for up to `sites` thresholds; NaN where any value will do."""
    found = [(steps, last, list(_trees(last))) for steps, last in ways(estimator)]
    found = [way for way in found if any(not tree.is_leaf[0] for tree in way[2])][:_WAYS]
    parts = [
        _rows_on_way(steps, last, trees, (columns, max(sites // len(found), 1)), random)
        for steps, last, trees in found
    ]
    return np.concatenate([np.empty((0, columns)), *parts])


def _rows_on_way(
    steps: Sequence[Any],
    last: Any,
    trees: Sequence[Tree],
    size: tuple[int, int],
    random: np.random.Generator,
) -> Matrix:
    """Make rows for some number of thresholds; `size` is that of the columns, and that number."""
    columns, sites = size
    splits = [tree for tree in trees if not tree.is_leaf[0]]
    width = 1 + max(int(tree.feature.max()) for tree in splits)
    width = max(width, int(getattr(last, "n_features_in_", width)))
    rows = [
        _on_threshold(splits[random.integers(len(splits))], width, random) for _ in range(sites)
    ]
    back = _back(steps, np.concatenate(rows), columns)
    return np.empty((0, columns)) if back is None else _with_neighbours(back)


def known_rows(estimator: Any, columns: int, random: np.random.Generator) -> Matrix:
    """Make rows [n, columns] of the points that an estimator keeps, and half way between two.

    On a point of its own, distances cancel out; half way, two of them tie.
    """
    parts = [np.empty((0, columns))]
    for steps, last in ways(estimator):
        for points in _kept_points(last):
            chosen = points[random.permutation(len(points))[:_POINTS]]
            apart = ((chosen[:, None] - points[None]) ** 2).sum(axis=2)
            apart[apart == 0] = np.inf
            nearest = points[apart.argmin(axis=1)]
            others = points[random.integers(len(points), size=len(chosen))]
            rows = np.concatenate([chosen, (chosen + nearest) / 2, (chosen + others) / 2])
            back = _back(steps, rows, columns)
            parts += [] if back is None else [back]
    for steps, edges in _bins(estimator):
        back = _back(steps, edges, columns)
        parts += [] if back is None else [_with_neighbours(back)]
    return np.concatenate(parts)[:_MOST_KNOWN]


def _kept_points(last: Any) -> Iterator[Matrix]:
    for name in _KEPT:
        points: Any = getattr(last, name, None)
        points = points.toarray() if hasattr(points, "toarray") else points
        is_matrix = (
            isinstance(points, np.ndarray) and points.ndim == 2 and points.dtype.kind in "fi"
        )
        if is_matrix and 0 < points.size <= _LARGE and np.isfinite(points).all():
            yield points.astype(np.float64)


def _bins(estimator: Any) -> Iterator[tuple[list[Any], Matrix]]:
    """Give the edges of bins, as rows, and the steps before."""
    for steps, last in ways(estimator):
        every = [*steps, last]
        for number, step in enumerate(every):
            edges = getattr(step, "bin_edges_", None)
            if isinstance(edges, np.ndarray) and edges.dtype == object and len(edges):
                most = max(len(item) for item in edges)
                yield every[:number], np.column_stack([np.resize(item, most) for item in edges])


def has_trees_behind_steps(estimator: Any) -> bool:
    """Whether trees see numbers that other steps have computed."""
    return any(bool(steps) and any(True for _ in _trees(last)) for steps, last in ways(estimator))


def _trees(estimator: Any) -> Iterator[Tree]:
    """Every tree in an estimator and in what it is made of."""
    todo, count = [estimator], 0
    while todo and count < _TREES:
        item = todo.pop()
        if isinstance(item, list | tuple):
            todo.extend(item)
        elif isinstance(item, np.ndarray) and item.dtype == object:
            todo.extend(item.reshape(-1).tolist())
        else:
            try:
                trees = _own_trees(item)
            except (NotCompilable, TypeError, IndexError):
                continue  # it will not be compiled
            yield from trees
            count += len(trees)
            if not trees:
                todo.extend(getattr(item, name) for name in _INSIDE if hasattr(item, name))


def _own_trees(item: Any) -> list[Tree]:
    """Give the tree that it is, or the trees that it holds without being made of estimators."""
    if hasattr(item, "tree_"):
        return [tree_of(item)]
    if hasattr(item, "nodes"):
        return [histogram_tree_of(item)]
    if getattr(item, "_preprocessor", None) is not None:
        return list(trial_trees(item))
    return booster_trees(item)


def _on_threshold(tree: Tree, width: int, random: np.random.Generator) -> Matrix:
    """Make five rows that reach one node of a tree: on its threshold and beside it."""
    low, high, node = _descend(tree, width, random)
    row = _inside(low, high, random)
    free = np.isinf(low) & np.isinf(high)
    others = random.choice(np.flatnonzero(~tree.is_leaf), 2 * width)
    others = others[free[tree.feature[others]]]
    row[tree.feature[others]] = tree.threshold[others]
    feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
    rows = np.tile(row, (5, 1))
    rows[:, feature] = _around(threshold)
    return rows


def _inside(low: Matrix, high: Matrix, random: np.random.Generator) -> Matrix:
    """Choose a row in a box whose sides may be open."""
    row = np.where(np.isinf(low), np.where(np.isinf(high), 0.0, high - 1.0), low + 1.0)
    closed = np.isfinite(low) & np.isfinite(high)
    low, high = low[closed], high[closed]
    row[closed] = low + (high - low) * random.random(len(low))
    return row


def _descend(tree: Tree, width: int, random: np.random.Generator) -> tuple[Matrix, Matrix, int]:
    """Traversal down to some inner node; give the box of rows that come to it, and the node."""
    low, high = np.full(width, -np.inf), np.full(width, np.inf)
    node = 0
    while random.random() > 0.15:
        left = bool(random.integers(2))
        child = int(tree.left[node] if left else tree.right[node])
        if tree.left[child] < 0:
            break
        feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
        bound = high if left else low
        bound[feature] = min(bound[feature], threshold) if left else max(bound[feature], threshold)
        node = child
    return low, high, node


def _around(threshold: float) -> list[float]:
    """A threshold, the float32 at or below it and the next one, and float64's neighbours."""
    single = np.float32(threshold)
    below = single if float(single) <= threshold else np.nextafter(single, np.float32(-np.inf))
    above = np.nextafter(below, np.float32(np.inf))
    beside = [np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf)]
    return [threshold, float(below), float(above), *map(float, beside)]


def _with_neighbours(rows: Matrix) -> Matrix:
    """Add the next floats on either side, and the whole numbers around."""
    some = rows[::5]
    with np.errstate(over="ignore"):  # a split on missing values alone has the threshold inf
        beside = [
            np.nextafter(rows, np.inf),
            np.nextafter(rows, -np.inf),
            np.nextafter(some.astype(np.float32), np.float32(np.inf)).astype(float),
        ]
    return np.concatenate([rows, *beside, np.floor(some), np.ceil(some)])


def _back(steps: Sequence[Any], rows: Matrix, columns: int) -> Matrix | None:
    """Take rows back through steps to `columns` inputs; None where there is no way."""
    for step in reversed(steps):
        found = _back_one(step, rows)
        if found is None:
            return None
        rows = found
    return rows if rows.shape[1] == columns else None


def _back_one(step: Any, rows: Matrix) -> Matrix | None:
    if step is None or isinstance(step, str):
        return rows
    if isinstance(step, Pipeline):
        inner = [item for _, item in step.steps]
        columns = getattr(step, "n_features_in_", None)  # one that begins with texts has none
        return None if columns is None else _back(inner, rows, columns)
    if isinstance(step, ColumnTransformer):
        return _back_branches(step, rows)
    if hasattr(step, "inverse_transform") and getattr(step, "statistics_", None) is None:
        try:
            return np.asarray(step.inverse_transform(rows)).astype(float)
        except (ValueError, TypeError, AttributeError):
            return None
    # An imputer leaves what is not missing.
    return rows if getattr(step, "n_features_in_", None) == rows.shape[1] else None


def _back_branches(step: Any, rows: Matrix) -> Matrix:
    result = np.full((len(rows), step.n_features_in_), np.nan)
    for name, inner in step.named_transformers_.items():
        chosen, given = branch_columns(step, name), step.output_indices_.get(name)
        if given is None or given.stop > rows.shape[1]:
            continue
        found = _back_one(inner, rows[:, given]) if chosen and inner != "drop" else None
        if found is not None and found.shape[1] == len(chosen):
            result[:, chosen] = found
    return result
