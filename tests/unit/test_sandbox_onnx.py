"""ONNX graphs: what is refused, what runs where, and their signatures."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_sandbox.prediction.row_arrays import arrays_of

X, y = load_iris(return_X_y=True)
MODEL = LogisticRegression(max_iter=500).fit(X, y)
GRAPH = {"format": "onnx", "artifact": "model.onnx"}
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def save(folder, nodes, inputs, outputs, initializers=(), **model_fields):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    fields = {
        "opset_imports": [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        "ir_version": 9,
        **model_fields,
    }
    (folder.path / "model.onnx").write_bytes(helper.make_model(graph, **fields).SerializeToString())


def classifier_node(scores: str):
    return helper.make_node(
        "LinearClassifier",
        ["X"],
        ["output_label", scores],
        domain="ai.onnx.ml",
        coefficients=MODEL.coef_.ravel().tolist(),
        intercepts=MODEL.intercept_.tolist(),
        classlabels_ints=[0, 1, 2],
        post_transform="SOFTMAX",
        multi_class=1,
    )


def save_classifier(folder, *, zipmap: bool):
    """The form that skl2onnx gives a logistic regression."""
    inputs, label = [value("X", FLOAT, [None, 4])], value("output_label", INT64, [None])
    if not zipmap:
        outputs = [label, value("output_probability", FLOAT, [None, 3])]
        save(folder, [classifier_node("output_probability")], inputs, outputs)
        return
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    )
    outputs = [label, helper.make_value_info("output_probability", maps)]
    node = helper.make_node(
        "ZipMap",
        ["scores"],
        ["output_probability"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1, 2],
    )
    save(folder, [classifier_node("scores"), node], inputs, outputs)


@pytest.mark.parametrize("zipmap", [False, True])
def test_classifier(folder, zipmap):
    save_classifier(folder, zipmap=zipmap)

    result = folder.build(**GRAPH)
    signature = Signature.from_json(result["signature"])

    assert "onnx" == result["engine"]
    assert Layout.MATRIX is signature.layout
    assert [DType.FLOAT32] * 4 == [feature.dtype for feature in signature.inputs]
    assert not any(feature.nullable for feature in signature.inputs)
    assert ("label", "probabilities") == signature.default_outputs
    assert ("0", "1", "2") == signature.outputs[1].classes


@pytest.mark.parametrize("zipmap", [False, True])
def test_answers_are_sklearns(folder, zipmap):
    save_classifier(folder, zipmap=zipmap)
    signature = folder.signature(**GRAPH)
    predictor = OnnxPredictor.open(folder.path / "model.onnx", signature)
    arrays = arrays_of(signature.layout, signature.inputs, X[::10].tolist())

    label, probabilities = predictor.predict(arrays, ["label", "probabilities"])

    assert MODEL.predict(X[::10]).tolist() == label.values.tolist()
    assert np.allclose(MODEL.predict_proba(X[::10]), probabilities.values, atol=1e-5)


def test_examples_gate_a_graph(folder):
    save_classifier(folder, zipmap=False)
    folder.write("examples.json", [{"input": X[0].tolist(), "output": 1}])

    assert "EXAMPLES_FAILED" == folder.build(**GRAPH)["reason"]


def test_regressor_has_one_plain_value(folder):
    node = helper.make_node(
        "LinearRegressor",
        ["X"],
        ["variable"],
        domain="ai.onnx.ml",
        coefficients=[1.0, 2.0],
        intercepts=[0.5],
    )
    save(folder, [node], [value("X", FLOAT, [None, 2])], [value("variable", FLOAT, [None, 1])])
    folder.write("examples.json", [{"input": [1, 2], "output": 5.5}])

    signature = folder.signature(**GRAPH)

    assert [("value", 0)] == [(o.name, o.columns) for o in signature.outputs]


def test_several_inputs_are_a_table(folder):
    nodes = [
        helper.make_node("Cast", ["count"], ["number"], to=FLOAT),
        helper.make_node("Add", ["number", "size"], ["sum"]),
        helper.make_node("Identity", ["colour"], ["echo"]),
    ]
    inputs = [
        value("size", FLOAT, [None, 1]),
        value("count", INT64, [None, 1]),
        value("colour", STRING, [None, 1]),
    ]
    save(folder, nodes, inputs, [value("sum", FLOAT, [None, 1]), value("echo", STRING, [None, 1])])
    row = {"size": 1.5, "count": 2, "colour": "red"}
    folder.write("examples.json", [{"input": row, "output": {"sum": 3.5, "echo": "red"}}])

    signature = folder.signature(**GRAPH)

    assert Layout.TABLE is signature.layout
    assert [DType.FLOAT32, DType.INT64, DType.STRING] == [f.dtype for f in signature.inputs]


def test_tensors_in_other_files_are_refused(folder):
    tensor = helper.make_tensor("w", FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    node = helper.make_node("Add", ["X", "w"], ["Y"])
    save(folder, [node], [value("X", FLOAT, [None, 1])], [value("Y", FLOAT, [None, 1])], [tensor])

    assert "ONNX_EXTERNAL_DATA" == folder.build(**GRAPH)["reason"]


def test_external_tensors_deep_in_a_graph_are_found(folder):
    tensor = helper.make_tensor("w", FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    node = helper.make_node("Constant", [], ["w"], value=tensor)
    add = helper.make_node("Add", ["X", "w"], ["Y"])
    inputs, outputs = [value("X", FLOAT, [None, 1])], [value("Y", FLOAT, [None, 1])]
    save(folder, [node, add], inputs, outputs)

    assert "ONNX_EXTERNAL_DATA" == folder.build(**GRAPH)["reason"]


def test_control_flow_runs_in_a_worker(folder):
    branch = [
        helper.make_graph([helper.make_node("Identity", ["X"], [name])], name, [],
                          [value(name, FLOAT, [None, 2])])
        for name in ("yes", "no")
    ]  # fmt: skip
    flag = helper.make_node("Constant", [], ["f"], value=helper.make_tensor("t", 9, [], [True]))
    node = helper.make_node("If", ["f"], ["Y"], then_branch=branch[0], else_branch=branch[1])
    save(folder, [flag, node], [value("X", FLOAT, [None, 2])], [value("Y", FLOAT, [None, 2])])

    result = folder.build(**GRAPH)

    assert ("worker", "its graph needs control flow: If") == (
        result["engine"],
        result["report"]["engine_reason"],
    )


def test_manifest_may_want_a_worker(folder):
    save_classifier(folder, zipmap=False)

    assert "worker" == folder.build(**GRAPH, engine="worker")["engine"]


def test_open_width_wants_a_declaration(folder):
    node = helper.make_node("Identity", ["X"], ["Y"])
    save(folder, [node], [value("X", FLOAT, [None, None])], [value("Y", FLOAT, [None, None])])
    declared = {"inputs": [{"name": "a"}, {"name": "b"}]}

    without = folder.build(**GRAPH)
    signature = folder.signature(**GRAPH, signature=declared)

    assert "SIGNATURE_UNKNOWN" == without["reason"]
    assert ["a", "b"] == [feature.name for feature in signature.inputs]
    assert [True, True] != [feature.nullable for feature in signature.inputs]


def test_fixed_rows_are_refused(folder):
    node = helper.make_node("Identity", ["X"], ["Y"])
    save(folder, [node], [value("X", FLOAT, [1, 2])], [value("Y", FLOAT, [1, 2])])

    assert "ONNX_SHAPE" == folder.build(**GRAPH)["reason"]


@pytest.mark.parametrize(
    "content", [b"", b"no graph at all", onnx.ModelProto().SerializeToString()]
)
def test_no_graph(folder, content):
    folder.write("model.onnx", content)

    assert "ARTIFACT_UNREADABLE" == folder.build(**GRAPH)["reason"]


def test_declared_type_that_contradicts(folder):
    save_classifier(folder, zipmap=False)
    names = [{"name": n, "dtype": "string"} for n in "abcd"]

    result = folder.build(**GRAPH, signature={"inputs": names})

    assert "SIGNATURE_MISMATCH" == result["reason"]
    assert "'a'" in result["message"]
