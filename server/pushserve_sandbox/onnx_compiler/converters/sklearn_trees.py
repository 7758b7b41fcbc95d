"""scikit-learn tree converters: trees, forests and boosting in doubles, as it computes them.

skl2onnx's own are in float32, where sums of leaves are off by 1e-7 and ties between two
classes fall to the wrong one; its histogram boosting fails with protobuf 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from sklearn import ensemble, tree
from sklearn.dummy import DummyClassifier, DummyRegressor

from pushserve_sandbox.onnx_compiler.converters.categories import columns_of
from pushserve_sandbox.onnx_compiler.converters.histogram_categories import category_source
from pushserve_sandbox.onnx_compiler.converters.registration import (
    CLASSIFIER_OPTIONS,
    add_label,
    classifier_types,
    register_converter,
    regressor_types,
)
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.tree_ensemble import ensemble_attributes
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import (
    NotCompilable,
    Tree,
    constant_tree,
    histogram_tree_of,
    leaf_numbers,
    tree_of,
)


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    for kind in (tree.DecisionTreeClassifier, tree.ExtraTreeClassifier):
        register_converter(kind, classifier_types, _tree_classifier)
    for kind in (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier):
        register_converter(kind, classifier_types, _forest_classifier)
    for kind in (tree.DecisionTreeRegressor, tree.ExtraTreeRegressor):
        register_converter(kind, regressor_types, _tree_regressor)
    for kind in (ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor):
        register_converter(kind, regressor_types, _forest_regressor)
    register_converter(ensemble.GradientBoostingClassifier, classifier_types, _boosting_classifier)
    register_converter(ensemble.GradientBoostingRegressor, regressor_types, _boosting_regressor)
    for kind, types, options in (
        (ensemble.HistGradientBoostingClassifier, classifier_types, CLASSIFIER_OPTIONS),
        (ensemble.HistGradientBoostingRegressor, regressor_types, None),
    ):
        alias = f"Pushserve{kind.__name__}"
        update_registered_converter(kind, alias, types, _convert_histogram, options=options)


def _tree_classifier(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _vote(nodes, model, [model], source, outputs)


def _forest_classifier(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _vote(nodes, model, model.estimators_, source, outputs)


def _vote(
    nodes: Nodes, model: Any, members: Sequence[Any], source: str, outputs: Sequence[str]
) -> None:
    _mean(nodes, members, source, outputs[1])
    add_label(
        nodes, model.classes_, nodes.add("ArgMax", [outputs[1]], axis=1, keepdims=0), outputs[0]
    )


def _tree_regressor(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _mean(nodes, [model], source, outputs[0])


def _forest_regressor(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    _mean(nodes, model.estimators_, source, outputs[0])


def _mean(nodes: Nodes, members: Sequence[Any], source: str, output: str) -> None:
    """Add up the trees' values [rows, targets] in their order, and divide by their number."""
    trees = [tree_of(member) for member in members]
    rounded = _as_float32(nodes, source)
    if trees[0].values.shape[1] == 1:
        sums = _sum(nodes, rounded, trees, [0] * len(trees), 1)
    else:
        sums = _sum_of_rows(nodes, rounded, trees)
    nodes.add("Div", [sums, nodes.constant(float(len(members)))], output)


def _sum_of_rows(nodes: Nodes, source: str, trees: Sequence[Tree]) -> str:
    """Sum leaves that hold several values: find each tree's leaf, look its values up, add.

    A leaf of TreeEnsemble holds one value. CumSum adds in order, which ReduceSum does not.
    """
    numbered, table = leaf_numbers(trees)
    count = len(trees)
    found = _sum(nodes, source, numbered, range(count), count)
    leaves = nodes.cast(found, TensorProto.INT64)
    values = nodes.add("Gather", [nodes.constant(table), leaves], axis=0)
    if count > 1:
        values = nodes.add("CumSum", [values, nodes.constant(np.array(1))])
    return nodes.add("Gather", [values, nodes.constant(np.array(count - 1))], axis=1)


def _boosting_classifier(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    raw = _boosted(nodes, model, source)
    steep = 2.0 if model.loss == "exponential" else 1.0
    _decide(nodes, model.classes_, raw, outputs, steep, from_zero=True)


def _boosting_regressor(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    nodes.add("Identity", [_boosted(nodes, model, source)], outputs[0])


def _boosted(nodes: Nodes, model: Any, source: str) -> str:
    start = model.init_
    if not isinstance(start, str) and type(start) not in (DummyClassifier, DummyRegressor):
        raise NotCompilable("gradient boosting that starts from another estimator")
    blank = np.zeros((1, model.n_features_in_), np.float32)
    base = model._raw_predict_init(blank)[0].tolist()  # noqa: SLF001 (there is no other way to it)
    stages = [[tree_of(member, model.learning_rate) for member in s] for s in model.estimators_]
    return _boost(nodes, _as_float32(nodes, source), base, stages)


def _convert_histogram(scope: Any, operator: Any, container: Any) -> None:
    model, nodes = operator.raw_operator, Nodes(scope, container)
    outputs = [item.full_name for item in operator.outputs]
    if getattr(model, "_preprocessor", None) is None:
        # It compares in float64, unlike the other trees.
        source = nodes.cast(operator.inputs[0].full_name, TensorProto.DOUBLE)
        stages = [[histogram_tree_of(item) for item in s] for s in model._predictors]  # noqa: SLF001 (there is no other way to it)
    else:
        source, stages = category_source(nodes, model, columns_of(nodes, operator))
    base = np.asarray(model._baseline_prediction).reshape(-1).tolist()  # noqa: SLF001 (as above)
    raw = _boost(nodes, source, base, stages)
    if hasattr(model, "classes_"):
        _decide(nodes, model.classes_, raw, outputs, 1.0, from_zero=False)
        return
    link = type(model._loss.link).__name__  # noqa: SLF001 (as above)
    kinds = {"IdentityLink": "Identity", "LogLink": "Exp"}
    if link not in kinds:
        raise NotCompilable(f"histogram gradient boosting with a {link}")
    nodes.add(kinds[link], [raw], outputs[0])


def _boost(
    nodes: Nodes, source: str, base: Sequence[float], stages: Sequence[Sequence[Tree]]
) -> str:
    """Sum stages of one tree for each target, beginning with the base as a tree of its own."""
    all_stages = [[constant_tree(value) for value in base], *stages]
    targets = [target for stage in all_stages for target in range(len(stage))]
    trees = [tree for stage in all_stages for tree in stage]
    return _sum(nodes, source, trees, targets, len(base))


def _as_float32(nodes: Nodes, source: str) -> str:
    """Round to float32, as scikit-learn's trees do, and give doubles of the same values.

    What is too large for float32 is refused, as it is there.
    """
    rounded = nodes.cast(nodes.cast(source, TensorProto.FLOAT), TensorProto.DOUBLE)
    return nodes.without_infinite(rounded)


def _sum(
    nodes: Nodes, source: str, trees: Sequence[Tree], targets: Sequence[int], width: int
) -> str:
    attributes = ensemble_attributes(trees, targets, width)
    return nodes.add_ml("TreeEnsemble", [source], **attributes)


def _decide(
    nodes: Nodes,
    classes: Any,
    raw: str,
    outputs: Sequence[str],
    steep: float,
    *,
    from_zero: bool,
) -> None:
    """Turn raw sums [rows, 1 or classes] into labels and probabilities.

    Of two classes, 0 belongs to the second one where `from_zero` is set.
    """
    if len(classes) > 2:
        nodes.add("Softmax", [raw], outputs[1], axis=1)
        chosen = nodes.add("ArgMax", [raw], axis=1, keepdims=0)
    else:
        second = nodes.add("Sigmoid", [nodes.add("Mul", [raw, nodes.constant(steep)])])
        first = nodes.add("Sub", [nodes.constant(1.0), second])
        nodes.add("Concat", [first, second], outputs[1], axis=1)
        compared = nodes.add(
            "GreaterOrEqual" if from_zero else "Greater", [raw, nodes.constant(0.0)]
        )
        chosen = nodes.flat_integers(compared)
    add_label(nodes, classes, chosen, outputs[0])
