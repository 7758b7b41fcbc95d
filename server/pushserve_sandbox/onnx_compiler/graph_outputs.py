"""Graph outputs: a converted graph gets those of a signature, and nothing else.

Which tensor of a graph is which output is found by its values on some rows. So one that
skl2onnx computes on the way, such as a classifier's decision function, is offered too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from pushserve_runtime.frames import Array
from pushserve_runtime.onnx_predictor import REFUSES, OnnxPredictor, graph_inputs, plain
from pushserve_runtime.onnx_session import open_session
from pushserve_runtime.output_arrays import NotAnOutput, to_array
from pushserve_runtime.signature import DType, OutputSpec, Signature
from pushserve_sandbox.onnx_compiler.graph.nodes import with_outputs
from pushserve_sandbox.onnx_compiler.proof.row_differences import Tolerances, compare
from pushserve_sandbox.onnx_compiler.proof.trial_rows import take

_CASTS: Final = {DType.BOOL: TensorProto.BOOL, DType.FLOAT64: TensorProto.DOUBLE}
_TYPES: Final = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(int64)": TensorProto.INT64,
    "tensor(int32)": TensorProto.INT32,
    "tensor(bool)": TensorProto.BOOL,
    "tensor(string)": TensorProto.STRING,
}
_MOST_TENSORS: Final = 400


def finish(
    model: Any, signature: Signature, rows: Sequence[Array], wanted: Mapping[str, Array]
) -> Any:
    """Give a model whose outputs are named as the signature's, as many of them as it has.

    `wanted` is what the estimator gives for `rows`, by output. A default output that no
    tensor equals is taken from where skl2onnx puts it, so that the comparison can say how
    it differs. The model has to be without control flow.
    """
    found = _match(model, signature, rows, wanted)
    chosen = {}
    for spec in signature.outputs:
        if spec.name in found:
            chosen[spec.name] = found[spec.name]
        elif spec.name in signature.default_outputs:
            usual = _usual(model, signature).get(spec.name)
            if usual is not None:
                chosen[spec.name] = _cast_label(model, usual, spec)
    if "log_probabilities" in wanted and "probabilities" in chosen:
        name = "pushserve_log"
        model.graph.node.append(helper.make_node("Log", [chosen["probabilities"]], [name]))
        chosen.setdefault("log_probabilities", name)
    _prune(model.graph, chosen.values())
    return _rename(model, chosen)


def _match(
    model: Any, signature: Signature, rows: Sequence[Array], wanted: Mapping[str, Array]
) -> dict[str, str]:
    """Find the tensors that have the wanted values: an output if there is one, else any."""
    tensors = [item.name for item in model.graph.output]
    tensors += [name for node in reversed(model.graph.node) for name in node.output if name]
    values = _run(model, signature, rows, list(dict.fromkeys(tensors))[:_MOST_TENSORS])
    found = {}
    for output, want in wanted.items():
        tolerances = Tolerances.of(output, want)
        for name, got in values.items():
            part = take([want], slice(0, len(got.values)))[0]  # of texts, a part is run
            if compare(part, got, tolerances).differing == 0:
                found[output] = name
                break
    return found


def _run(
    model: Any, signature: Signature, rows: Sequence[Array], names: Sequence[str]
) -> dict[str, Array]:
    """Give any tensors of a graph that are outputs by their form."""
    session = open_session(with_outputs(model, names))
    predictor = OnnxPredictor(session, signature, graph_inputs(session))
    feed, count = next(predictor.feeds(rows))
    found = {}
    results = session.run(list(names), feed)
    for name, result in zip(names, results, strict=True):
        try:
            found[name] = to_array(plain(result, count))
        except NotAnOutput:
            continue  # a tensor of another shape
    return found


def _usual(model: Any, signature: Signature) -> dict[str, str]:
    """Where skl2onnx puts the main output and, of a classifier, the second one."""
    outputs = [item.name for item in model.graph.output]
    names = [spec.name for spec in signature.outputs]
    second = "probabilities" if "probabilities" in names else "decision_function"
    return dict(zip((names[0], second), outputs, strict=False))


def _cast_label(model: Any, source: str, spec: OutputSpec) -> str:
    """Give classes that are truth values or floats their type; skl2onnx makes them int64."""
    if spec.name != "label" or spec.dtype not in _CASTS:
        return source
    target = "pushserve_label"
    node = helper.make_node("Cast", [source], [target], to=_CASTS[spec.dtype])
    model.graph.node.append(node)
    return target


def _prune(graph: Any, outputs: Iterable[str]) -> None:
    """Drop what no output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    constants = [item for item in graph.initializer if item.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def _rename(model: Any, chosen: Mapping[str, str]) -> Any:
    """Name outputs as chosen and everything else by numbers, so that no two names meet."""
    graph = model.graph
    inputs = [item.name for item in graph.input]
    names = {name: f"x{i}" for i, name in enumerate(inputs)}
    outputs = {}
    for output, source in chosen.items():
        if source in names:  # an input, or an output under another name
            outputs[output] = source
        else:
            names[source] = output
    taken = [item.name for item in graph.initializer]
    taken += [name for node in graph.node for name in node.output]
    for name in taken:
        names.setdefault(name, f"t{len(names)}")
    _apply(graph, names)
    for output, source in outputs.items():
        graph.node.append(helper.make_node("Identity", [names[source]], [output]))
    return _type_outputs(model, list(chosen))


def _apply(graph: Any, names: Mapping[str, str]) -> None:
    for item in (*graph.input, *graph.initializer):
        item.name = names[item.name]
    for number, node in enumerate(graph.node):
        kept = node.name.startswith(REFUSES)  # so that it is known which one raised
        node.name = f"{REFUSES}{number}" if kept else f"n{number}"
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]


def _type_outputs(model: Any, outputs: Sequence[str]) -> Any:
    """Declare the outputs with the types that ONNX Runtime finds."""
    graph = model.graph
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    found = {item.name: item for item in open_session(model.SerializeToString()).get_outputs()}
    del graph.output[:]
    for name in outputs:
        item = found[name]
        shape = [None, *item.shape[1:]]
        graph.output.append(helper.make_tensor_value_info(name, _TYPES[item.type], shape))
    return model
