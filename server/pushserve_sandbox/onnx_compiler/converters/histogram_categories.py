"""Histogram categories: the columns that trees over categories see, as ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pushserve_sandbox.onnx_compiler.converters.categories import Column, category_number, looked_up
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.trees.category_splits import (
    CategorySplits,
    category_encoder,
    feature_places,
)
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable, Tree


def category_source(
    nodes: Nodes, model: Any, columns: Sequence[Column]
) -> tuple[str, list[list[Tree]]]:
    """Give what the trees see [rows, features], and the trees of each stage."""
    encoder, places = category_encoder(model), feature_places(model)
    count = len(encoder.categories_)
    splits = CategorySplits(model)
    first = len(places) - count
    stages = [[splits.tree(item) for item in stage] for stage in model._predictors]  # noqa: SLF001 (there is no other way to it)
    parts = [columns[place].name for place in places[count:]]
    for number, (place, categories) in enumerate(
        zip(places[:count], encoder.categories_, strict=True)
    ):
        table = splits.table(number)
        if table is not None:
            found = category_number(nodes, columns[place], np.asarray(categories))
            parts.append(looked_up(nodes, found, table))
    if not parts:
        raise NotCompilable("histogram gradient boosting that never splits")
    return nodes.add("Concat", parts, axis=1), splits.placed(stages, first)
