"""Marks: places in an estimator's pipelines, where a graph is looked at and refuses.

A mark is a step that hands on what it gets. In scikit-learn's own pipeline it keeps that, to be
compared with the graph's tensor at the same place. In the graph it refuses, by an index that is
out of bounds, what the next step refuses in scikit-learn: numbers that are not finite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from pushserve_runtime.onnx_predictor import REFUSES
from pushserve_sandbox.compat import tags_of
from pushserve_sandbox.inspection.library_types import reachable
from pushserve_sandbox.onnx_compiler.graph.sparse import DOMAIN

MARK: Final = "Mark"
_NAME: Final = "pushserve_mark_"
_ZERO: Final = "pushserve_zero"

_DOUBLES: Final = frozenset(
    {
        *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
        *("LGBMClassifier", "LGBMRegressor", "LGBMRanker"),
        *("KBinsDiscretizer", "Binarizer", "BernoulliNB", "CategoricalNB", "MissingIndicator"),
        *("OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "QuantileTransformer"),
        *("SplineTransformer", "LabelBinarizer"),
    }
)
"""They compare numbers as doubles with some that were computed from training values."""
_SINGLES: Final = frozenset(
    {
        *("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier"),
        *("ExtraTreeRegressor", "XGBClassifier", "XGBRegressor", "XGBRFClassifier"),
        "XGBRFRegressor",
    }
)
"""They round to float32 before."""
_TAKE_INFINITE: Final = frozenset(
    {
        *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
        *("LGBMClassifier", "LGBMRegressor", "FunctionTransformer", "IsolationForest"),
        *("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
    }
)
_ALWAYS_FINITE: Final = frozenset(
    {
        *("CountVectorizer", "TfidfVectorizer", "TfidfTransformer", "OneHotEncoder"),
        *("KBinsDiscretizer", "Binarizer", "SimpleImputer", "TargetEncoder"),
    }
)
_CONTAINERS: Final = frozenset({"Pipeline", "ColumnTransformer", "FeatureUnion"})


class Mark(BaseEstimator):  # type: ignore[misc]
    """One place before a step. `doubles` and `singles` say how the step compares numbers.

    `refuses` is "" or what the step refuses: "infinite" or, with missing ones, "not finite".
    """

    def __init__(self, number: int, step: Any) -> None:
        names = {type(item).__name__ for item in reachable(step)}
        self.number = number
        self.doubles = bool(names & _DOUBLES) or _replaces_numbers(step)
        self.singles = bool(names & _SINGLES)
        self.refuses = "" if names & _TAKE_INFINITE or _lets_through(step) else "not finite"
        if self.refuses and tags_of(step).allows_nan:
            self.refuses = "infinite"
        self.seen: Any = None

    @property
    def compares(self) -> bool:
        """Whether the step compares numbers with some of its own."""
        return self.doubles or self.singles

    def fit(self, _rows: Any, _labels: Any = None) -> Mark:
        """Do nothing, as there is nothing to learn."""
        return self

    def transform(self, rows: Any) -> Any:
        """Keep the rows, and hand them on."""
        self.seen = rows
        return rows


def _replaces_numbers(step: Any) -> bool:
    """Whether it looks for a certain number in the place of missing ones."""
    return any(
        type(item).__name__ == "SimpleImputer"
        and isinstance(item.missing_values, int | float)
        and item.missing_values == item.missing_values
        for item in reachable(step)
    )


def _lets_through(step: Any) -> bool:
    return any(
        isinstance(getattr(item, "transformers_", None), list)
        and any(isinstance(branch, str) for _, branch, _ in item.transformers_)
        for item in reachable(step)
    )


def unmarked_thresholds(estimator: Any) -> str:
    """Name thresholds behind the answers of others, to which no pipeline leads; "" if none."""
    for item in reachable(estimator):
        if hasattr(item, "final_estimator_") and Mark(0, item.final_estimator_).compares:
            return "thresholds behind the answers of other estimators"
    return ""


@contextmanager
def marked(estimator: Any) -> Iterator[list[Mark]]:
    """Put marks into an estimator's pipelines, which are as before when it is left."""
    marks: list[Mark] = []
    before = [(item, item.steps) for item in reachable(estimator) if type(item) is Pipeline]
    try:
        for pipeline, steps in before:
            pipeline.steps = _with_marks(steps, marks)
        yield marks
    finally:
        for pipeline, steps in before:
            pipeline.steps = steps


def _with_marks(steps: list[Any], marks: list[Mark]) -> list[Any]:
    result: list[Any] = []
    comes_first, makes_numbers = True, False
    for name, step in steps:
        if step is None or isinstance(step, str):
            result.append((name, step))
            continue
        if not comes_first:
            mark = Mark(len(marks), step)
            mark.refuses = mark.refuses if makes_numbers else ""
            if mark.refuses or mark.compares:
                marks.append(mark)
                result.append((f"{_NAME}{mark.number}", mark))
        result.append((name, step))
        comes_first = False
        makes_numbers = makes_numbers or not _is_always_finite(step)
    return result


def _is_always_finite(step: Any) -> bool:
    """Whether all that it makes of finite numbers is finite."""
    kind = type(step).__name__
    if kind not in _CONTAINERS:
        return kind in _ALWAYS_FINITE
    attribute = {"Pipeline": "steps", "FeatureUnion": "transformer_list"}.get(kind, "transformers_")
    inner = [part[1] for part in getattr(step, attribute)]
    return all(part == "drop" or _is_always_finite(part) for part in inner)


def with_marks_resolved(model: Any) -> None:
    """Put operators of the standard in the place of a graph's marks."""
    graph = model.graph
    found = [node for node in graph.node if node.domain == DOMAIN and node.op_type == MARK]
    for node in found:
        values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        source, output, number = node.input[0], node.output[0], values["number"]
        place = list(graph.node).index(node)
        made = _refusing(source, output, number, values["refuses"].decode())
        graph.node.remove(node)
        for item in reversed(made):
            graph.node.insert(place, item)
    kept = [item for item in model.opset_import if item.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    if found:
        graph.initializer.append(helper.make_tensor(_ZERO, TensorProto.DOUBLE, [1], [0.0]))


def _refusing(source: str, output: str, number: int, refuses: str) -> list[Any]:
    """Give the nodes of one mark: the last one's name says which it is."""
    name = f"{_NAME}{number}"
    if not refuses:
        return [helper.make_node("Identity", [source], [output], name=name)]
    t = [f"{name}_{i}" for i in range(5)]
    if refuses == "infinite":
        found = [
            helper.make_node("IsInf", [source], [t[0]]),
            helper.make_node("Cast", [t[0]], [t[1]], to=TensorProto.INT64),
            helper.make_node("ReduceMax", [t[1]], [t[3]], keepdims=0),
        ]
    else:
        found = [  # what is not finite is no number, times 0
            helper.make_node("Sub", [source, source], [t[0]]),
            helper.make_node("ReduceSum", [t[0]], [t[1]], keepdims=0),
            helper.make_node("IsNaN", [t[1]], [t[2]]),
            helper.make_node("Cast", [t[2]], [t[3]], to=TensorProto.INT64),
        ]
    return [
        *found,
        helper.make_node("Gather", [_ZERO, t[3]], [t[4]], name=f"{REFUSES}{number}"),
        helper.make_node("Sub", [source, t[4]], [output], name=name),
    ]


def mark_tensors(model: Any) -> Mapping[int, str]:
    """Find the tensors of a graph's marks, by number."""
    return {
        int(node.name.removeprefix(_NAME)): node.output[0]
        for node in model.graph.node
        if node.name.startswith(_NAME)
    }
