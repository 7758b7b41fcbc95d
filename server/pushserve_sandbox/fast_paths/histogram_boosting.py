"""Histogram boosting: all trees of it by one call of its own routine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting._predictor import _predict_from_raw_data

from pushserve_sandbox.fast_paths import joined_trees
from pushserve_sandbox.fast_paths.scores import score_outputs
from pushserve_sandbox.prediction.fast_path import (
    ONE_PASS,
    TREE_BY_TREE,
    FastPath,
    Matrix,
    is_matrix,
    is_own,
)

_FIELDS: Final = joined_trees.Fields("left", "right", "feature_idx", "num_threshold")


def histogram_paths(estimator: Any) -> Iterator[FastPath]:
    """Give HistGradientBoosting's fast paths; with categories, only its own way in one pass."""
    # Private names of scikit-learn's: what they give is compared before it is used.
    outputs: Mapping[str, Callable[[Any], Any]]
    if is_own(estimator, "predict", HistGradientBoostingClassifier):
        outputs = score_outputs(estimator.classes_, estimator._loss.predict_proba)  # noqa: SLF001
    elif is_own(estimator, "predict", HistGradientBoostingRegressor):
        outputs = {"value": lambda raw: estimator._loss.link.inverse(raw.ravel())}  # noqa: SLF001
    else:
        return
    nodes = [tree.nodes for step in estimator._predictors for tree in step]  # noqa: SLF001
    if getattr(estimator, "_preprocessor", None) is None and joined_trees.can_join(nodes):
        yield FastPath(TREE_BY_TREE, _Joined(estimator, nodes).start, outputs, by_row=True)
    yield FastPath(ONE_PASS, estimator._raw_predict, outputs)  # noqa: SLF001


class _Joined:
    """All trees of one estimator, in the order in which it adds them up."""

    def __init__(self, estimator: Any, nodes: list[NDArray[Any]]) -> None:
        self._own = estimator._raw_predict  # noqa: SLF001
        self._columns = int(estimator.n_features_in_)
        self._baseline = estimator._baseline_prediction.reshape(1, -1)  # noqa: SLF001
        leaves = [tree["is_leaf"].astype(bool) for tree in nodes]
        self._nodes, _ = joined_trees.join(nodes, leaves, _FIELDS, self._columns)
        self._tiles = joined_trees.Tiles(len(nodes), self._columns, np.float64)
        self._no_sets = np.zeros((0, 8), np.uint32)
        self._no_map = np.zeros(self._columns + 1, np.uint32)

    def start(self, data: Any) -> NDArray[Any] | None:
        """Give the raw predictions, [rows, trees in a step]."""
        if not is_matrix(data, self._columns):
            return None
        if len(data) > joined_trees.TILED_ROWS:
            own: NDArray[Any] = self._own(data)
            return own
        raw = np.empty((len(data), self._baseline.shape[1]), order="F")
        for where, tile in self._tiles.blocks(data):
            raw[where] = self._raw(tile, min(where.stop, len(data)) - where.start)
        return raw

    def _raw(self, tile: Matrix, rows: int) -> NDArray[Any]:
        width = self._baseline.shape[1]
        steps = len(tile) // (rows * width)
        values = np.empty((steps + 1, width, rows))
        values[0] = self._baseline.T
        _predict_from_raw_data(
            self._nodes,
            tile,
            self._no_sets,
            self._no_sets,
            self._no_map,
            1,  # thread
            values[1:].reshape(-1),
        )
        total: NDArray[Any] = joined_trees.summed(values).T
        return total
