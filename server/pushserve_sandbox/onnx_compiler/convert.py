"""Conversion by skl2onnx, in the number types that are worth a try."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

from pushserve_runtime.onnx_predictor import NULL_TEXT, NULL_TEXT_KEY
from pushserve_runtime.signature import DType, Feature, Layout, Signature
from pushserve_sandbox.onnx_compiler import converters
from pushserve_sandbox.onnx_compiler.converters import text_counts
from pushserve_sandbox.onnx_compiler.graph.marks import marked, with_marks_resolved
from pushserve_sandbox.onnx_compiler.graph.nodes import KNOWN_ML, ML_DOMAIN
from pushserve_sandbox.onnx_compiler.graph.null_texts import with_null_texts

OPSET: Final = 21
ML_OPSET: Final = 5
"""The first one that has TreeEnsemble."""
_MATRIX: Final = "X"
_MODULES: Final = tuple(
    importlib.import_module(f"{converters.__name__}.{module.name}")
    for module in pkgutil.iter_modules(converters.__path__)
)
"""Those with a `register` hold converters of our own; a new one is found by being there."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to convert: the graph's numbers, and one input for all features or one for each."""

    numbers: str
    joined: bool


def forms(signature: Signature) -> Iterator[Form]:
    """Name the ways to try, the most exact one first."""
    numeric = all(feature.dtype.is_number for feature in signature.inputs)
    for numbers in ("float64", "float32"):
        if numeric:
            yield Form(numbers, joined=True)
        if signature.layout is Layout.TABLE:
            yield Form(numbers, joined=False)


def convert(estimator: Any, signature: Signature, form: Form) -> Any:
    """Give the ONNX model (a ModelProto) as skl2onnx makes it.

    Raises:
        Exception: whatever skl2onnx and our converters raise.
    """
    for module in _MODULES:
        if hasattr(module, "register"):
            module.register()
    estimator = with_null_texts(_best_estimator(estimator))
    number = DoubleTensorType if form.numbers == "float64" else FloatTensorType
    if form.joined:
        types = [(_MATRIX, number([None, len(signature.inputs)]))]
    else:
        types = [(feature.name, _type(feature, number)) for feature in signature.inputs]
    with warnings.catch_warnings(), marked(estimator):
        warnings.simplefilter("ignore")
        model = to_onnx(
            estimator,
            initial_types=types,
            target_opset={"": OPSET, ML_DOMAIN: KNOWN_ML},
        )
    with_marks_resolved(model)
    text_counts.with_terms_inputs(model)
    _without_maps(model.graph)
    if any(node.op_type == "TreeEnsemble" for node in model.graph.node):
        _set_opsets(model.opset_import)
    model.metadata_props.add(key=NULL_TEXT_KEY, value=NULL_TEXT)
    return model


def _best_estimator(estimator: Any) -> Any:
    """Give the estimator that answers, of a search of any kind."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def _type(feature: Feature, number: Any) -> Any:
    return StringTensorType([None, 1]) if feature.dtype is DType.STRING else number([None, 1])


def _without_maps(graph: Any) -> None:
    """Take matrices of probabilities instead of the lists of maps that are made of them."""
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for output in graph.output:
        node = maps.get(output.name)
        if node is not None:
            output.name = node.input[0]
            graph.node.remove(node)


def _set_opsets(opsets: Sequence[Any]) -> None:
    for item in opsets:
        if item.domain == ML_DOMAIN:
            item.version = ML_OPSET
