"""Forests: decision trees, forests of them, and gradient boosting over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._forest import ForestClassifier, ForestRegressor
from sklearn.ensemble._gradient_boosting import predict_stages
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from pushserve_sandbox.compat import tags_of
from pushserve_sandbox.fast_paths import joined_trees
from pushserve_sandbox.fast_paths.scores import score_outputs
from pushserve_sandbox.prediction.fast_path import TREE_BY_TREE, FastPath, is_matrix, is_own

_FIELDS: Final = joined_trees.Fields("left_child", "right_child", "feature", "threshold")
_LEAF: Final = -1

Float32 = NDArray[np.float32]
Scale = Callable[[NDArray[Any]], NDArray[Any]]


def forest_paths(estimator: Any) -> Iterator[FastPath]:
    """Give the fast paths of a tree or a forest of scikit-learn's."""
    if is_own(estimator, "predict_proba", ForestClassifier, DecisionTreeClassifier):
        if not is_own(estimator, "predict", ForestClassifier, DecisionTreeClassifier):
            return
        members = _tree_list(estimator)
        scale = _fractions if any(map(_holds_counts, members)) else _as_it_is
        if hasattr(estimator, "estimators_"):  # each tree's fractions have a mean
            trees, outputs = _Trees(members, scale), _class_outputs(estimator, _as_it_is)
        else:  # a tree's label is the class with the most samples
            trees, outputs = _Trees(members, _as_it_is), _class_outputs(estimator, scale)
        yield FastPath(TREE_BY_TREE, partial(_start, estimator, trees), outputs, by_row=True)
    elif is_own(estimator, "predict", ForestRegressor, DecisionTreeRegressor):
        trees = _Trees(_tree_list(estimator), _as_it_is)
        start = partial(_start, estimator, trees)
        yield FastPath(TREE_BY_TREE, start, {"value": _values}, by_row=True)


def _tree_list(estimator: Any) -> list[Any]:
    members = getattr(estimator, "estimators_", [estimator])
    return [member.tree_ for member in members]


def _holds_counts(tree: Any) -> bool:
    """Whether nodes hold their classes' samples, as before scikit-learn 1.4, and no fractions."""
    return bool(np.any(np.abs(tree.value.sum(axis=-1) - 1) > 1e-6))


def _fractions(values: NDArray[Any]) -> NDArray[Any]:
    """Divide by the sum along the last axis, as predict_proba did before 1.4."""
    total = values.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    result: NDArray[Any] = values / total
    return result


def _as_it_is(values: NDArray[Any]) -> NDArray[Any]:
    return values


def _start(estimator: Any, trees: _Trees, data: Any) -> NDArray[Any] | None:
    rows = as_float32(data, estimator.n_features_in_, allow_nan=trees.allows_nan(estimator))
    return None if rows is None else trees.mean(rows)


def as_float32(data: Any, columns: int, *, allow_nan: bool) -> Float32 | None:
    """Give the rows as trees take them; None for what scikit-learn might refuse."""
    if not is_matrix(data, columns):
        return None
    with np.errstate(over="ignore"):
        rows = data.astype(np.float32)
    # What is too large for float32 has become infinite, and is refused as such.
    refused = np.isinf(rows).any() if allow_nan else not np.isfinite(rows).all()
    return None if refused else rows


class _Trees:
    """The trees of one estimator. Their mean has the shape [rows, targets, classes].

    `scale` is what is done to a tree's values before.
    """

    def __init__(self, trees: Sequence[Any], scale: Scale) -> None:
        self._trees = trees
        self._scale = scale
        self._shape = trees[0].value.shape[1:]
        self._allows_nan: bool | None = None
        states = [tree.__getstate__()["nodes"] for tree in trees]
        self._joined = _Joined(trees, states, scale) if joined_trees.can_join(states) else None

    def allows_nan(self, estimator: Any) -> bool:
        if self._allows_nan is None:
            self._allows_nan = tags_of(estimator).allows_nan
        return self._allows_nan

    def mean(self, rows: Float32) -> NDArray[Any]:
        if len(self._trees) == 1:
            return self._of(self._trees[0], rows)
        if self._joined is not None and len(rows) <= joined_trees.TILED_ROWS:
            total = self._joined.total(rows).reshape(len(rows), *self._shape)
        else:
            total = np.zeros((len(rows), *self._shape))
            for tree in self._trees:
                total += self._of(tree, rows)
        total /= len(self._trees)
        return total

    def _of(self, tree: Any, rows: Float32) -> NDArray[Any]:
        return self._scale(tree.predict(rows).reshape(len(rows), *self._shape))


class _Joined:
    """All trees in one."""

    def __init__(self, trees: Sequence[Any], states: Sequence[NDArray[Any]], scale: Scale) -> None:
        features = trees[0].n_features
        leaves = [nodes["left_child"] == _LEAF for nodes in states]
        nodes, starts = joined_trees.join(states, leaves, _FIELDS, features)
        self._values = np.zeros((len(nodes), trees[0].value[0].size))
        for tree, start in zip(trees, starts, strict=True):
            values = scale(tree.value).reshape(tree.node_count, -1)
            self._values[start : start + tree.node_count] = values
        self._tree = Tree(features + 1, np.ones(1, np.intp), 1)
        self._tree.__setstate__(  # as unpickling does
            {
                "max_depth": max(tree.max_depth for tree in trees) + len(trees),
                "node_count": len(nodes),
                "nodes": nodes,
                "values": np.zeros((len(nodes), 1, 1)),
            }
        )
        self._tiles = joined_trees.Tiles(len(trees), features, np.float32)

    def total(self, rows: Float32) -> NDArray[Any]:
        """Give the sum of the trees' values, [rows, targets * classes]."""
        width = self._values.shape[1]
        total = np.empty((len(rows), width))
        for where, tile in self._tiles.blocks(rows):
            values = self._values.take(self._tree.apply(tile), axis=0)
            count = min(where.stop, len(rows)) - where.start
            total[where] = joined_trees.summed(values.reshape(-1, count * width)).reshape(-1, width)
        total += 0.0  # scikit-learn starts at zero, and 0.0 + -0.0 is 0.0
        return total


def _class_outputs(estimator: Any, scale: Scale) -> Mapping[str, Callable[[Any], Any]]:
    classes, counts = estimator.classes_, estimator.n_classes_
    if estimator.n_outputs_ > 1:
        return {"label": partial(_target_labels, classes, counts)}

    def own(mean: NDArray[Any]) -> NDArray[Any]:
        return mean[:, 0, :counts]

    def probabilities(mean: NDArray[Any]) -> NDArray[Any]:
        return scale(own(mean))

    return {
        "label": lambda mean: classes.take(np.argmax(own(mean), axis=1), axis=0),
        "probabilities": probabilities,
        "log_probabilities": lambda mean: np.log(probabilities(mean)),
    }


def _target_labels(classes: Any, counts: Any, mean: NDArray[Any]) -> NDArray[Any]:
    labels = np.empty(mean.shape[:2], classes[0].dtype)
    for target, (names, count) in enumerate(zip(classes, counts, strict=True)):
        labels[:, target] = names.take(np.argmax(mean[:, target, :count], axis=1), axis=0)
    return labels


def _values(mean: NDArray[Any]) -> NDArray[Any]:
    return mean[:, 0, 0] if mean.shape[1] == 1 else mean[:, :, 0]


def boosting_paths(estimator: Any) -> Iterator[FastPath]:
    """Give the fast paths of GradientBoosting: its own loop over the stages, without the checks."""
    if is_own(estimator, "predict", GradientBoostingRegressor):
        outputs: Mapping[str, Callable[[Any], Any]] = {"value": np.ravel}
    elif is_own(estimator, "predict", GradientBoostingClassifier):
        outputs = score_outputs(estimator.classes_, estimator._loss.predict_proba, zero=True)  # noqa: SLF001 — verified by trial
    else:
        return
    columns = estimator.n_features_in_
    if estimator.init_ != "zero" and not isinstance(
        estimator.init_, DummyClassifier | DummyRegressor
    ):
        return
    first = estimator._raw_predict_init(np.zeros((1, columns), np.float32))  # noqa: SLF001

    def start(data: Any) -> NDArray[Any] | None:
        rows = as_float32(data, columns, allow_nan=False)
        if rows is None:
            return None
        scores = np.repeat(first, len(rows), axis=0)
        predict_stages(estimator.estimators_, rows, estimator.learning_rate, scores)
        return scores

    yield FastPath(TREE_BY_TREE, start, outputs, by_row=True)
