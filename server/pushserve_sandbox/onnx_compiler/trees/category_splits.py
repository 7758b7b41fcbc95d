"""Category splits: histogram gradient boosting over categories, as trees with a column for each.

A split on categories sends some of them left. What a row's category does there is looked up
in a table: a column of 0 (left) and 1 (right), which an ordinary node compares with 1/2. So
unknown and missing categories need no rule in the trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushserve_sandbox.onnx_compiler.trees.ordinal_codes import ordinal_tables
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import Tree, histogram_tree_of

_MIDDLE = 0.5


def trial_trees(model: Any) -> Iterator[Tree]:
    """Give the trees over the columns as the model takes them, for rows on their thresholds.

    A split on categories has one of those that go left for a threshold.
    """
    encoder, places = category_encoder(model), feature_places(model)
    lefts = CategorySplits(model)
    for item in (item for stage in model._predictors for item in stage):  # noqa: SLF001 (there is no other way to it)
        tree = histogram_tree_of(item, categories=True)
        threshold = tree.threshold.copy()
        for node in _category_nodes(item):
            number = int(item.nodes["feature_idx"][node])
            goes_left = np.flatnonzero(lefts.column(item, node)[:-1] == 0)
            categories = encoder.categories_[number]
            left = categories[goes_left[0]] if len(goes_left) else 0.0
            threshold[node] = 0.0 if isinstance(left, str) else float(left)
        yield replace(tree, feature=places[tree.feature], threshold=threshold)


def category_encoder(model: Any) -> Any:
    """Give the encoder that turns the model's categories into codes."""
    return model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 (as above)


def feature_places(model: Any) -> NDArray[np.int64]:
    """Say where the trees' features stand among the model's: those of categories come first."""
    chosen = np.asarray(model.is_categorical_, bool)
    return np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])


def _category_nodes(predictor: Any) -> NDArray[np.int64]:
    nodes = predictor.nodes
    return np.flatnonzero((nodes["is_categorical"] != 0) & (nodes["is_leaf"] == 0))


class CategorySplits:
    """The distinct splits on each feature of categories: columns of 0 (left) and 1 (right)."""

    def __init__(self, model: Any) -> None:
        self._codes = [table[:, 0] for table in ordinal_tables(category_encoder(model))]
        known, self._known_of = model._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001 (as above)
        self._known = [_members(bits) for bits in known]
        self._found: list[dict[bytes, int]] = [{} for _ in self._codes]

    def column(self, predictor: Any, node: int) -> NDArray[np.float64]:
        """Say where each category goes at a node, and an unknown one, which comes last."""
        entry = predictor.nodes[node]
        number = int(entry["feature_idx"])
        left = _members(predictor.raw_left_cat_bitsets[entry["bitset_idx"]])
        known = self._known[self._known_of[number]]
        codes = self._codes[number]
        whole = np.where(np.isnan(codes), 0, codes).astype(np.int64)
        right = np.where(left[whole], 0.0, 1.0)
        strange = np.isnan(codes) | ~(left[whole] | known[whole])
        right[strange] = 0.0 if entry["missing_go_to_left"] else 1.0
        return right

    def tree(self, predictor: Any) -> Tree:
        """Give a tree whose splits on categories have features -1 - (number of the split).

        Other features are counted from 0.
        """
        tree = histogram_tree_of(predictor, categories=True)
        feature = tree.feature - len(self._codes)
        threshold = tree.threshold.copy()
        for node in _category_nodes(predictor):
            number = int(predictor.nodes["feature_idx"][node])
            found = self._found[number]
            place = found.setdefault(self.column(predictor, node).tobytes(), len(found))
            feature[node] = -1 - (number + len(self._codes) * place)
            threshold[node] = _MIDDLE
        feature[tree.is_leaf] = 0
        return replace(tree, feature=feature, threshold=threshold)

    def table(self, number: int) -> NDArray[np.float64] | None:
        """Give the splits on one feature of categories [categories + 1, splits], if any."""
        columns = [np.frombuffer(item) for item in self._found[number]]
        return np.column_stack(columns) if columns else None

    def placed(self, stages: Sequence[Sequence[Tree]], first: int) -> list[list[Tree]]:
        """Give the splits on categories their places behind the `first` other features."""
        starts = first + np.cumsum([0, *(len(found) for found in self._found)])
        return [[self._placed(tree, starts) for tree in stage] for stage in stages]

    def _placed(self, tree: Tree, starts: NDArray[np.int64]) -> Tree:
        split = -1 - tree.feature
        count = len(self._codes)
        places = starts[split % count] + split // count
        return replace(tree, feature=np.where(split >= 0, places, tree.feature))


def _members(bits: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Unpack a set of codes below 256."""
    return np.unpackbits(np.asarray(bits, "<u4").view(np.uint8), bitorder="little").astype(bool)
