"""Text converters: vectorizers, whose terms come in as an input of their own.

The converter leaves a node of a domain of our own, which says how the terms are made. At the
end, `with_terms_inputs` puts an input in its place, and notes in the metadata how the server
makes that from the text (`pushserve_runtime.terms_feed`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from pushserve_runtime.terms_feed import NO_TERM, TERMS_KEY, TermsInput, to_metadata
from pushserve_runtime.text_terms import Terms
from pushserve_sandbox.onnx_compiler.converters.registration import register_converter
from pushserve_sandbox.onnx_compiler.graph.nodes import Nodes
from pushserve_sandbox.onnx_compiler.graph.sparse import (
    DOMAIN,
    Counts,
    replace_input,
    with_sparse_products,
)
from pushserve_sandbox.onnx_compiler.trees.tree_arrays import NotCompilable

VOCABULARY_LIMIT: Final = 200_000
"""Where a step needs all columns, a row takes 8 bytes for each term."""
_TERMS: Final = "Terms"


def register() -> None:
    """Make skl2onnx use these converters. May be called again."""
    register_converter(CountVectorizer, _vectorizer_types, _count)
    register_converter(TfidfVectorizer, _vectorizer_types, _count_and_weigh)
    register_converter(TfidfTransformer, _transformer_types, _weigh_columns)
    register_converter(HashingVectorizer, _hashing_types, _count)


def _vectorizer_types(operator: Any) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, len(operator.raw_operator.vocabulary_)]))


def _hashing_types(_: Any) -> None:
    raise NotCompilable("a HashingVectorizer (no operator makes its hashes)")


def _transformer_types(operator: Any) -> None:
    operator.outputs[0].set_type(DoubleTensorType([None, operator.raw_operator.n_features_in_]))


def _count(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    counts = _counted(nodes, model, source)
    counts.weighed(np.ones(counts.width)).spread(outputs[0])


def _count_and_weigh(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    counts, weighting = _counted(nodes, model, source), model._tfidf  # noqa: SLF001 (there is no other way to it)
    grown = counts.having(_grown(nodes, weighting, counts.values))
    weights = weighting.idf_ if weighting.use_idf else np.ones(counts.width)
    weighed = grown.weighed(weights)
    weighed.having(_of_size_one(nodes, weighting, weighed.values)).spread(outputs[0])


def _weigh_columns(nodes: Nodes, model: Any, source: str, outputs: Sequence[str]) -> None:
    values = _grown(nodes, model, nodes.cast(source, TensorProto.DOUBLE))
    if model.use_idf:
        values = nodes.add("Mul", [values, nodes.constant(np.asarray(model.idf_, np.float64))])
    nodes.add("Identity", [_of_size_one(nodes, model, values)], outputs[0])


def _grown(nodes: Nodes, model: Any, counts: str) -> str:
    """Take logarithms of counts, where that is wanted."""
    if not model.sublinear_tf:
        return counts
    logs = nodes.add("Add", [nodes.add("Log", [counts]), nodes.constant(1.0)])
    none = nodes.add("Equal", [counts, nodes.constant(0.0)])
    return nodes.add("Where", [none, nodes.constant(0.0), logs])


def _of_size_one(nodes: Nodes, model: Any, values: str) -> str:
    """Divide rows by their size, where that is wanted."""
    if model.norm is None:
        return values
    kind = {"l1": "ReduceL1", "l2": "ReduceL2"}[model.norm]
    sizes = nodes.add(kind, [values, nodes.constant(np.array([1]))], keepdims=1)
    none = nodes.add("Equal", [sizes, nodes.constant(0.0)])
    return nodes.add("Div", [values, nodes.add("Where", [none, nodes.constant(1.0), sizes])])


def _counted(nodes: Nodes, model: Any, source: str) -> Counts:
    """Count the terms of each text.

    Raises:
        NotCompilable: there are too many, or they are made by code of its own.
    """
    known, width = model.vocabulary_, len(model.vocabulary_)
    if width > VOCABULARY_LIMIT:
        raise NotCompilable(f"a vocabulary of {width:,} terms, more than {VOCABULARY_LIMIT:,}")
    if NO_TERM in known or not all(isinstance(term, str) for term in known):
        raise NotCompilable("a vocabulary that has a term without letters")
    # The feature's number is only known when the graph is whole.
    item = to_metadata([TermsInput(0, width, terms_of(model))])
    terms = nodes.add(_TERMS, [source], op_domain=DOMAIN, op_version=1, item=item)
    numbers = {"keys_strings": list(known), "values_int64s": [int(n) for n in known.values()]}
    counts = Counts.of(
        nodes, nodes.add_ml("LabelEncoder", [terms], **numbers, default_int64=width), width
    )
    if not model.binary:
        return counts
    seen = nodes.add("Greater", [counts.values, nodes.constant(0.0)])
    return counts.having(nodes.cast(seen, TensorProto.DOUBLE))


def terms_of(model: Any) -> Terms:
    """Read how a vectorizer takes texts apart.

    Raises:
        NotCompilable: by code or a pattern of its own.
    """
    code = (model.preprocessor, model.tokenizer, model.analyzer, model.strip_accents)
    if any(map(callable, code)):
        raise NotCompilable(f"a {type(model).__name__} with a function of its own")
    word = model.analyzer == "word"
    stop_words = (model.get_stop_words() or ()) if word else ()
    try:
        return Terms(
            lowercase=bool(model.lowercase),
            accents=model.strip_accents or "",
            unit=model.analyzer,
            pattern=model.token_pattern if word else "",
            shortest=model.ngram_range[0],
            longest=model.ngram_range[1],
            stop_words=tuple(sorted(stop_words)),
        )
    except ValueError as error:
        raise NotCompilable(f"a {type(model).__name__}: {error}") from error


def with_terms_inputs(model: Any) -> None:
    """Put inputs and operators of the standard in the place of a graph's nodes of our own.

    Raises:
        NotCompilable: a text is no input, but made on the way.
    """
    graph = model.graph
    features = {item.name: number for number, item in enumerate(graph.input)}
    sources = {n.output[0]: n.input[0] for n in graph.node if n.op_type in ("Identity", "Reshape")}
    with_sparse_products(graph)
    made: dict[str, str] = {}
    for node in [node for node in graph.node if node.domain == DOMAIN]:
        source = node.input[0]
        while source in sources:
            source = sources[source]
        if source not in features:
            raise NotCompilable("texts that other steps have made")
        entry = json.loads(node.attribute[0].s)[0] | {"feature": features[source]}
        _take_as_input(graph, node, made, json.dumps(entry, sort_keys=True))
    if made:
        entries = [json.loads(entry) for entry in made]
        model.metadata_props.add(key=TERMS_KEY, value=json.dumps(entries))
        kept = [item for item in model.opset_import if item.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)


def _take_as_input(graph: Any, node: Any, made: dict[str, str], entry: str) -> None:
    """Have all who use a node's terms use an input that is made as `entry` says."""
    if entry not in made:
        made[entry] = f"pushserve_terms_{len(made)}"
        item = helper.make_tensor_value_info(made[entry], TensorProto.STRING, [None, None])
        graph.input.append(item)
    replace_input(graph, node.output[0], made[entry])
    graph.node.remove(node)
