"""Numbers next to zero: zeros only where a graph has much to do and answers the same."""

from dataclasses import replace
from threading import Thread

import numpy as np
import onnx
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from pushserve_runtime.denormals import as_zeros
from pushserve_runtime.frames import Array
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.admission.admit import admit
from pushserve_sandbox.admission.job import check
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, compile_estimator
from tests.fixtures.graphs import DOUBLE, FLOAT, constant, graph, node, random, value
from tests.fixtures.harmful_graphs import chain

TINY = np.array([5e-324, -5e-324, 1e-310, -1e-310, 2e-308, 1e-40, -1e-40, 1e-160])
SIDE = 40


def product(value_: float) -> float:
    return float(np.float64(value_) * np.float64(1.0))


def test_denormals_are_zeros_during_a_run_and_not_after():
    assert 0.0 == as_zeros(product)(1e-310)
    assert 1e-310 == product(1e-310)


def test_a_run_that_raises_leaves_numbers_as_they_were():
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        as_zeros(fail)()

    assert 1e-310 == product(1e-310)


def test_other_threads_keep_their_numbers():
    found = []

    def run() -> None:
        thread = Thread(target=lambda: found.append(as_zeros(product)(1e-310)))
        thread.start()
        thread.join()
        found.append(product(1e-310))

    run()

    assert [0.0, 1e-310] == found


def wide(*last, side: int = 150, gives: int = 150):
    """A product by a matrix that is worth it, and then other nodes from "p" to "Y"."""
    return graph(
        [node("MatMul", "X w", "p"), *last],
        [constant("w", np.eye(side), "f8")],
        takes=[value("X", DOUBLE, [None, side])],
        gives=[value("Y", DOUBLE, [None, gives])],
    )


def signature(side: int) -> Signature:
    features = tuple(Feature(f"x{i}", DType.FLOAT64) for i in range(side))
    outputs = (OutputSpec("Y", DType.FLOAT64, side),)
    return Signature(Layout.MATRIX, features, outputs, ("Y",))


def checked(folder, model: onnx.ModelProto, found: Signature):
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path, check(path, found)


@pytest.mark.parametrize(
    ("model", "zeros"),
    [
        (wide(node("Tanh", "p", "Y")), True),
        (wide(node("Exp", "p", "Y")), True),
        (wide(node("Log", "p", "Y")), False),
        (wide(node("Sign", "p", "Y")), False),
        (wide(node("Ceil", "p", "Y")), False),
        (wide(node("Reciprocal", "p", "Y")), False),
        (wide(node("LpNormalization", "p", "Y", axis=1)), False),
        (wide(node("Tanh", "p", "Y"), side=SIDE, gives=SIDE), False),
    ],
    ids=["Tanh", "Exp", "Log", "Sign", "Ceil", "Reciprocal", "LpNormalization", "few"],
)
def test_they_are_zeros_where_the_answers_are_the_same(tmp_path, model, zeros):
    side = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value

    _, answer = checked(tmp_path, model, signature(side))

    assert zeros is answer["bounds"]["zeros"]


def test_a_graph_of_much_to_do_that_tells_them_from_zero_runs_in_a_worker(tmp_path):
    _, answer = checked(tmp_path, wide(node("Log", "p", "Y"), side=600, gives=600), signature(600))

    expected = "numbers next to zero, which take long, for 0.7 million operations a row"
    assert expected == answer["reason"]


def test_trees_alone_have_nothing_that_takes_long():
    """Eight trees of 900 levels."""
    one = chain(900).graph.node[0]
    trees = [onnx.NodeProto() for _ in range(8)]
    for i, tree in enumerate(trees):
        tree.CopyFrom(one)
        tree.output[0] = f"t{i}"
    total = node("Sum", " ".join(f"t{i}" for i in range(8)), "Y")

    bounds = admit(graph([*trees, total], gives=[value("Y", FLOAT, [None, 1])]))

    assert bounds.work.at(1) > 20_000
    assert not bounds.zeros


def compiled(model, rows):
    own = inspect_estimator(model, Declared(), [list(row) for row in rows[:2]])
    found = compile_estimator(model, own, [])
    assert isinstance(found, Compiled), found
    return found, own


def split_at_zero(model, rows, target):
    """Fit on rows whose signs decide, so that trees split between -1e-300 and 1e-300."""
    return model.fit(np.sign(rows) * 1e-3, target)


def network(cls, *layers):
    return cls(hidden_layer_sizes=layers, max_iter=5, random_state=0)


MODELS = {
    "forest split at zero": (RandomForestClassifier(20, random_state=0), False),
    "logistic regression": (make_pipeline(StandardScaler(), LogisticRegression()), False),
    "network": (network(MLPRegressor, 150, 150), True),
    "classifying network": (network(MLPClassifier, 150, 150), True),
    "normalized network": (make_pipeline(Normalizer(), network(MLPRegressor, 150)), False),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_served_graph_answers_as_its_estimator_does(tmp_path, name):
    """For rows with such numbers in one column or in all, and for weights that are such numbers."""
    model, zeros = MODELS[name]
    rows = random(300, 10)
    target = (rows[:, 0] > 0).astype(int)
    split_at_zero(model, rows, target)
    weights = getattr(model, "coefs_", None)
    if weights is not None:
        weights[0][:2] = 1e-310
        weights[1][:, :2] = -5e-324
    found, own = compiled(model, rows)
    signature_ = found.predictor.signature
    path, answer = checked(tmp_path, onnx.load_from_string(found.graph), signature_)
    bounds = GraphBounds.from_json(answer["bounds"])
    asked = Array(DType.FLOAT64, next_to_zero(rows))
    outputs = signature_.default_outputs

    got = OnnxPredictor.open(path, signature_, bounds).predict([asked], outputs)
    want = own.predict([asked], outputs)

    assert zeros is bounds.zeros
    for mine, theirs in zip(got, want, strict=True):
        if mine.values.dtype.kind == "f":
            np.testing.assert_allclose(mine.values, theirs.values, rtol=1e-6, atol=1e-6)
        else:
            assert theirs.values.tolist() == mine.values.tolist()


def next_to_zero(rows):
    """Rows with each of `TINY` in each column, in rows of zeros and in usual ones."""
    made = []
    for tiny in TINY:
        made.append(np.full(rows.shape[1], tiny))
        for column in range(rows.shape[1]):
            for base in (np.zeros(rows.shape[1]), rows[column]):
                row = base.copy()
                row[column] = tiny
                made.append(row)
    return np.array(made)


def test_zeros_travel_as_json():
    bounds = replace(admit(wide(node("Tanh", "p", "Y"))), zeros=True)

    assert bounds == GraphBounds.from_json(bounds.to_json())
