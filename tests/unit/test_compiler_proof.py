"""The parity gate refuses graphs that are wrong, however little."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pushserve_runtime.job_spec import Declared
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Differs, compile_estimator, judged
from pushserve_sandbox.onnx_compiler.convert import Form, convert
from pushserve_sandbox.onnx_compiler.graph_outputs import finish
from pushserve_sandbox.onnx_compiler.proof.column_samples import collect
from pushserve_sandbox.onnx_compiler.proof.parity import ask
from pushserve_sandbox.onnx_compiler.proof.threshold_rows import (
    has_trees_behind_steps,
    threshold_rows,
)
from pushserve_sandbox.onnx_compiler.proof.trial_rows import trial_rows
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable
from pushserve_sandbox.prediction.model_outputs import quiet

X, y = make_classification(400, 5, n_informative=5, n_redundant=0, n_classes=2, random_state=1)
WHOLE = np.round(6 * X)


class Case:
    """A model with its compiled graph and its answers, to be judged again after a change."""

    def __init__(self, model, data=WHOLE):
        self.model = model.fit(data, y)
        self.predictor = inspect_estimator(self.model, Declared(), [])
        self.signature = self.predictor.signature
        self.answers = ask(self.predictor, trial_rows(self.model, self.signature, []))

    def graph(self):
        result = compile_estimator(self.model, self.predictor, [])
        assert isinstance(result, Compiled), result.reason
        return onnx.load_from_string(result.graph)

    def judge(self, graph):
        with quiet():  # float32 does not hold all trial rows
            return judged(graph.SerializeToString(), self.signature, self.answers, "float64")

    def float32(self):
        graph = convert(self.model, self.signature, Form("float32", joined=True))
        part = self.answers.first(512)
        with quiet():
            return finish(graph, self.signature, part.rows, part.outputs)


def thresholds_of(graph):
    """Give the tensor of thresholds, and the numbers in it."""
    node = next(node for node in graph.graph.node if node.op_type == "TreeEnsemble")
    tensor = next(item.t for item in node.attribute if item.name == "nodes_splits")
    return tensor, numpy_helper.to_array(tensor).copy()


def test_every_threshold_counts():
    """Any one of them moved to the next float32 to either side: refused."""
    case = Case(DecisionTreeClassifier(max_depth=3, random_state=0))
    graph = case.graph()
    tensor, values = thresholds_of(graph)
    assert isinstance(case.judge(graph), Compiled)
    for index in range(len(values)):
        for side in (-np.inf, np.inf):
            changed = values.copy()
            changed[index] = np.nextafter(np.float32(values[index]), np.float32(side))
            tensor.CopyFrom(numpy_helper.from_array(changed))
            with pytest.raises(Differs, match=r"of [0-9,]+ trial rows differs"):
                case.judge(graph)


def test_a_leaf_that_is_off_is_seen():
    case = Case(DecisionTreeClassifier(max_depth=2, random_state=0))
    graph = case.graph()
    table = next(
        item for item in graph.graph.initializer if len(item.dims) == 2 and item.dims[1] == 2
    )
    values = numpy_helper.to_array(table).copy()
    values[0] += [1e-5, -1e-5]
    table.CopyFrom(numpy_helper.from_array(values, table.name))

    with pytest.raises(Differs, match=r"probabilities"):
        case.judge(graph)


def test_swapped_classes_are_seen():
    case = Case(make_pipeline(StandardScaler(), LogisticRegression()))
    graph = case.graph()
    classes = next(
        item
        for item in graph.graph.initializer
        if item.data_type == onnx.TensorProto.INT64
        and [0, 1] == numpy_helper.to_array(item).tolist()
    )
    classes.CopyFrom(numpy_helper.from_array(np.array([1, 0]), classes.name))

    with pytest.raises(Differs, match=r"label of [0-9,]+ of [0-9,]+ trial rows differs; the first"):
        case.judge(graph)


def test_a_scaler_in_float32_before_a_forest_is_refused():
    """On whole numbers, scaled values lie on thresholds; random rows do not show that."""
    case = Case(make_pipeline(StandardScaler(), RandomForestClassifier(50, random_state=0)))

    assert isinstance(case.judge(case.graph()), Compiled)
    with pytest.raises(Differs):
        case.judge(case.float32())


def test_a_large_offset_needs_float64():
    case = Case(make_pipeline(StandardScaler(), LogisticRegression()), X + 1e8)

    assert isinstance(case.judge(case.graph()), Compiled)
    with pytest.raises(Differs):
        case.judge(case.float32())


def test_trial_rows_are_the_same_every_time():
    case = Case(RandomForestClassifier(5, random_state=0))
    first, second = (trial_rows(case.model, case.signature, [[1, 2, 3, 4, 5]]) for _ in range(2))

    assert [1, 2, 3, 4, 5] == first[0].values[0].tolist()
    assert first[0].values.tobytes() == second[0].values.tobytes()
    assert 3000 < len(first[0].values)


def test_rows_lie_on_thresholds_through_the_steps_before():
    """For most nodes of a tree behind a scaler, some row comes to the node and on its threshold."""
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=4, random_state=0))
    model.fit(X, y)
    rows = threshold_rows(model, 5, 200, np.random.default_rng(0))
    tree = model[-1].tree_
    seen = model[0].transform(rows).astype(np.float32)
    paths = tree.decision_path(seen).toarray().astype(bool)
    inner = np.flatnonzero(tree.children_left >= 0)
    near = [
        bool(np.isclose(seen[paths[:, n], tree.feature[n]], tree.threshold[n], 1e-6, 1e-7).any())
        for n in inner
    ]

    assert 0.8 < np.mean(near)


def test_steps_in_float32_before_trees_are_not_tried(monkeypatch):
    """No row can be made on the thresholds behind what is rounded on the way."""

    def single_alone(estimator, signature, form):
        assert "float64" == form.numbers
        raise NotCompilable("no doubles")

    monkeypatch.setattr("pushserve_sandbox.onnx_compiler.compile.convert", single_alone)
    case = Case(make_pipeline(StandardScaler(), RandomForestClassifier(5)), X)

    result = compile_estimator(case.model, case.predictor, [])

    assert not isinstance(result, Compiled), result.reason
    assert "no doubles" == result.reason


def test_trial_rows_look_inside_of_what_is_made_of_others():
    """Scalers and thresholds in a vote, and behind a changed target, get rows as others do."""
    inner = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=3, random_state=0))
    vote = VotingClassifier([("one", inner)]).fit(X + 1000, y)
    changed = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=3))
    ).fit(X + 1000, y)
    for model in (vote, changed):
        plain = model.estimators_[0] if model is vote else model.regressor_
        seen = plain[0].transform(threshold_rows(model, 5, 40, np.random.default_rng(0)))
        tree = plain[1].tree_
        nodes = np.flatnonzero(tree.children_left >= 0)
        near = [np.isclose(seen[:, tree.feature[n]], tree.threshold[n], 1e-6).any() for n in nodes]

        assert all(near)
        assert has_trees_behind_steps(model)
        assert 900 < collect(model, 5)[0].numbers[0]


def test_trial_texts_look_inside_of_a_vote():
    inner = make_pipeline(CountVectorizer(), LogisticRegression())
    texts = ["strange zebra" if label else "plain horse" for label in y]
    vote = VotingClassifier([("one", inner)]).fit(texts, y)

    assert any("zebra" in text for text in collect(vote, 1)[0].texts)
