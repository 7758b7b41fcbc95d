"""Operators of ai.onnx.ml that may run in a server process, and the shapes they give.

ONNX has no shape inference for most of them. Where the parts of one do not fit together, ONNX
Runtime would raise for some and read beyond its arrays for others: all are looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from onnx import TensorProto, helper

from pushserve_sandbox.admission import costs
from pushserve_sandbox.admission.attributes import Attributes
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.step import Step
from pushserve_sandbox.admission.tensors import STRING, Tensor, fixed_axes
from pushserve_sandbox.admission.trees import check_ensemble, check_older

Known = tuple[Sequence[Tensor | None], int, int]
"""The outputs, operations for each element of the first input, and bytes beside for each row."""
_FLOAT: Final = TensorProto.FLOAT
_INT64: Final = TensorProto.INT64
_VALUES: Final[dict[str, int]] = {"strings": STRING, "int64s": _INT64, "floats": _FLOAT}
_LOOKUP: Final = 50
_ENTRY: Final = 200
"""What one entry of a map takes, in Python."""


def outputs(step: Step) -> Known:
    """Give what a node of the domain ai.onnx.ml gives, and what it costs.

    Raises:
        NotAdmitted: it may not run in a server process.
    """
    return OPERATORS[step.operator](step)


def _columns(step: Step) -> int:
    """Give the width of a matrix whose rows alone a request decides."""
    source = step.input(0)
    if source.rank != 2:
        raise NotAdmitted(f"{step.operator} of what is no matrix")
    fixed_axes(source, [1], step.operator)
    return source.shape[1]


def _rows(step: Step, kind: int, width: int | None) -> Tensor:
    shape = () if width is None else (width,)
    return Tensor(kind, tuple((s[0], *shape) for s in step.input(0).shapes))


def _insist(step: Step, holds: bool) -> None:
    if not holds:
        raise NotAdmitted(f"{step.operator} whose parts do not fit together")


def _classes(step: Step) -> tuple[int, int]:
    """Give the type of the labels, and how many there are."""
    attributes = step.attributes
    texts = "classlabels_strings"
    name = attributes.the_one(texts, "classlabels_ints", "classlabels_int64s")
    return STRING if name == texts else _INT64, attributes.length(name)


def _same(step: Step) -> Known:
    return [replace(step.input(0), values=None, kind=_FLOAT, kinds=None)], 2, 0


def _scaled(step: Step) -> Known:
    width = _columns(step)
    lengths = {step.attributes.length(name) for name in ("offset", "scale")}
    _insist(step, lengths <= {1, width})
    return _same(step)


def _normalized(step: Step) -> Known:
    _columns(step)
    return _same(step)


def _imputed(step: Step) -> Known:
    width = _columns(step)
    attributes = step.attributes
    name = attributes.the_one("imputed_value_floats", "imputed_value_int64s")
    _insist(step, attributes.length(name) in (1, width))
    return [replace(step.input(0), values=None)], 2, 0


def _encoded(step: Step) -> Known:
    """LabelEncoder: a table, of as many values as it has entries and one more for the rest."""
    attributes = step.attributes
    keys, values = (
        attributes.the_one(*(f"{part}_{name}" for name in (*_VALUES, "tensor")))
        for part in ("keys", "values")
    )
    entries = attributes.length(keys)
    _insist(step, 0 < entries == attributes.length(values))
    if values == "values_tensor":
        dtype = attributes.tensor(values).dtype
        kind = STRING if dtype.kind == "O" else int(helper.np_dtype_to_tensor_dtype(dtype))
    else:
        kind = _VALUES[values.removeprefix("values_")]
    source = step.input(0)
    return [Tensor(kind, source.shapes, kinds=entries + 1)], _LOOKUP, 0


def _mapped(step: Step) -> Known:
    """CategoryMapper: numbers for texts, or texts for numbers."""
    lengths = {step.attributes.length(name) for name in ("cats_int64s", "cats_strings")}
    _insist(step, len(lengths) == 1 and lengths != {0})
    source = step.input(0)
    kind = _INT64 if source.kind == STRING else STRING
    return [Tensor(kind, source.shapes)], _LOOKUP, 0


def _one_hot(step: Step) -> Known:
    attributes = step.attributes
    width = attributes.length(attributes.the_one("cats_int64s", "cats_strings"))
    shapes = tuple((*shape, width) for shape in step.input(0).shapes)
    return [Tensor(_FLOAT, shapes)], _LOOKUP + width, 0


def _extracted(step: Step) -> Known:
    """ArrayFeatureExtractor: some columns, by number; of a line they become a matrix of one row."""
    source, chosen = step.input(0), step.input(1)
    if source.rank < 1:
        raise NotAdmitted("ArrayFeatureExtractor of what is no matrix")
    fixed_axes(source, [source.rank - 1], "ArrayFeatureExtractor")
    counts = [chosen.size(i) for i in range(len(chosen.shapes))]
    shapes = tuple(
        (*(shape[:-1] or (1,)), count) for shape, count in zip(source.shapes, counts, strict=True)
    )
    return [Tensor(source.kind, shapes)], 1, 0


def _joined(step: Step) -> Known:
    """FeatureVectorizer: columns of several matrices beside each other."""
    _columns(step)
    widths = step.attributes.integers("inputdimensions").tolist()
    parts = [step.input(i) for i in range(len(step.inputs))]
    same = all(p.rank == 2 and not p.axis_moves(1) for p in parts)
    _insist(step, same and widths == [part.shape[1] for part in parts])
    return [_rows(step, _FLOAT, sum(widths))], 1 + len(parts), 0


def _regressed(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    targets = attributes.integer("targets", 1)
    _insist(step, attributes.length("coefficients") == width * targets > 0)
    _insist(step, attributes.length("intercepts") in (0, targets))
    return [_rows(step, _FLOAT, targets)], 2 * targets, 0


def _classified(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    kind, labels = _classes(step)
    scores = attributes.length("intercepts")
    _insist(step, attributes.length("coefficients") == width * scores > 0)
    _insist(step, labels == scores or (scores, labels) == (1, 2))
    return [_rows(step, kind, None), _rows(step, _FLOAT, labels)], 2 * scores + 10, 0


def _vectors(step: Step, attributes: Attributes, vectors: int, width: int) -> None:
    _insist(step, vectors > 0 and attributes.length("support_vectors") == vectors * width)


def _support_regressed(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    vectors = attributes.integer("n_supports")
    _vectors(step, attributes, vectors, width)
    _insist(step, attributes.length("coefficients") == vectors)
    _insist(step, attributes.length("rho") == 1)
    return [_rows(step, _FLOAT, 1)], 3 * vectors, 8 * vectors


def _support_classified(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    kind, labels = _classes(step)
    each = attributes.integers("vectors_per_class")
    vectors = int(each.sum()) if bool((each >= 0).all()) else 0
    pairs = labels * (labels - 1) // 2
    _vectors(step, attributes, vectors, width)
    _insist(step, labels >= 2 and len(each) == labels and attributes.length("rho") == pairs)
    _insist(step, attributes.length("coefficients") == vectors * (labels - 1))
    chances = {attributes.length(name) for name in ("prob_a", "prob_b")}
    _insist(step, chances in ({0}, {pairs}))
    scores = labels if chances == {pairs} or labels == 2 else pairs
    beside = 8 * vectors + 32 * pairs + 16 * labels * labels
    return [_rows(step, kind, None), _rows(step, _FLOAT, scores)], 3 * vectors + pairs, beside


def _trees(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    levels = check_ensemble(attributes, width)
    targets = attributes.integer("n_targets", 1)
    kind = int(helper.np_dtype_to_tensor_dtype(attributes.tensor("nodes_splits").dtype))
    return [_rows(step, kind, targets)], _each(5 * levels + targets, width), 32 * targets


def _trees_regressed(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    targets = attributes.integer("n_targets", 1)
    levels = check_older(attributes, width, "target", targets)
    _insist(step, _base(attributes) in (0, targets))
    return [_rows(step, _FLOAT, targets)], _each(5 * levels + targets, width), 32 * targets


def _trees_classified(step: Step) -> Known:
    width, attributes = _columns(step), step.attributes
    kind, labels = _classes(step)
    levels = check_older(attributes, width, "class", labels)
    _insist(step, _base(attributes) in (0, 1, labels))
    scores = _rows(step, _FLOAT, max(labels, 2) if labels <= 2 else labels)
    work = _each(5 * levels + labels, width)
    return [_rows(step, kind, None), scores], work, 32 * labels


def _base(attributes: Attributes) -> int:
    return max(attributes.length("base_values"), attributes.length("base_values_as_tensor"))


def _each(work: int, width: int) -> int:
    """Give what each element costs, where a row costs so much."""
    return -(-work // max(1, width))


def _zipped(step: Step) -> Known:
    """ZipMap: a map for each row, in Python; no operator that is known here takes any."""
    width, attributes = _columns(step), step.attributes
    labels = attributes.length(attributes.the_one("classlabels_strings", "classlabels_int64s"))
    _insist(step, labels == width)
    return [None], _LOOKUP, _ENTRY * labels


OPERATORS: Final[dict[str, Callable[[Step], Known]]] = {
    "ArrayFeatureExtractor": _extracted,
    "Binarizer": _same,
    "CategoryMapper": _mapped,
    "FeatureVectorizer": _joined,
    "Imputer": _imputed,
    "LabelEncoder": _encoded,
    "LinearClassifier": _classified,
    "LinearRegressor": _regressed,
    "Normalizer": _normalized,
    "OneHotEncoder": _one_hot,
    "SVMClassifier": _support_classified,
    "SVMRegressor": _support_regressed,
    "Scaler": _scaled,
    "TreeEnsemble": _trees,
    "TreeEnsembleClassifier": _trees_classified,
    "TreeEnsembleRegressor": _trees_regressed,
    "ZipMap": _zipped,
}


def work(step: Step, each: int, point: int) -> int:
    """Give the operations of a node at a point."""
    return each * step.input(0).size(point) + costs.easy(step, point)


def beside(step: Step, of_a_row: int, point: int) -> int:
    """Give the bytes beside the outputs of a node at a point."""
    return of_a_row * step.input(0).shapes[point][0] if step.input(0).rank else 0
