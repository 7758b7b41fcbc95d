"""Small ONNX graphs of two columns, whole and broken."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper


def _graph(shape: list[Any], *, operator: str = "Add", kind: int = TensorProto.FLOAT) -> Any:
    inputs = ["x", "x"] if operator == "Add" else ["x"]
    attributes = {"case_change_action": "UPPER"} if operator == "StringNormalizer" else {}
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "small",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def doubling_graph() -> bytes:
    """Gives twice what it gets."""
    data: bytes = _graph([None, 2]).SerializeToString()
    return data


def fixed_graph() -> bytes:
    """Takes exactly one row."""
    data: bytes = _graph([1, 2]).SerializeToString()
    return data


def open_graph() -> bytes:
    """Takes any number of columns."""
    data: bytes = _graph([None, None]).SerializeToString()
    return data


def diagonal_graph() -> bytes:
    """Has an operator that runs in a sandbox alone."""
    data: bytes = _graph([None, 2], operator="EyeLike").SerializeToString()
    return data


def external_graph() -> bytes:
    """Keeps a tensor in another file."""
    model = _graph([None, 2])
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    model.graph.initializer.append(tensor)
    data: bytes = model.SerializeToString()
    return data
