"""Admission of one graph to server processes, with what it takes there at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onnx import ModelProto

from pushserve_runtime.graph_bounds import RUN_OPERATIONS, GraphBounds, Growth
from pushserve_runtime.terms_feed import TERMS_KEY, from_metadata
from pushserve_runtime.text_terms import MOST_TERMS
from pushserve_sandbox.admission.form import check_form
from pushserve_sandbox.admission.growth import growth_of, points
from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.tensors import STRING, Point, Shape, Tensor
from pushserve_sandbox.admission.traversal import Traversal

_MIB: Final = 1024**2
ROW_BYTES: Final = 4 * _MIB
ROW_OPERATIONS: Final = 50_000_000
RUN_FIXED_BYTES: Final = 32 * _MIB
"""For what is made of constants, when the graph is loaded or at every run."""
LONGEST_TEXT_BYTES: Final = 512 * _MIB
"""For one row, of the longest text that is taken apart."""
TEXT_COPIES: Final = 64
FEW_OPERATIONS: Final = 20_000
"""Of a row: even where each takes a hundred times as long as usual, they are soon done."""
_USUAL_TERMS: Final = 1_000
"""A text of so many terms counts as a row."""


def admit(model: ModelProto, width: int = 0) -> GraphBounds:
    """Prove what a graph takes; `width` is for an input that leaves its columns open.

    Raises:
        NotAdmitted: it cannot be proved, or is too much; the text says what the graph needs.
    """
    check_form(model)
    try:
        return _bounds(model, width)
    except NotAdmitted:
        raise
    except Exception as error:  # protobuf, NumPy and ONNX raise what they like: nothing is proved
        raise NotAdmitted("sizes that could not be followed") from error


def _bounds(model: ModelProto, width: int) -> GraphBounds:
    metadata = {item.key: item.value for item in model.metadata_props}
    terms = len(from_metadata(metadata.get(TERMS_KEY, "")))
    looked_at = points(texts=terms > 0)
    inputs = _inputs(model, terms, width, looked_at)
    traversal = Traversal(model, inputs, looked_at)
    traversal.run()
    for item in model.graph.output:
        traversal.insist_known(item.name)
    bounds = GraphBounds(
        growth_of(traversal.memory),
        growth_of(traversal.work),
        traversal.kinds,
        traversal.copies,
        zeros=_of_a_row(growth_of(traversal.arithmetic), terms=terms > 0) > FEW_OPERATIONS,
    )
    _check_limits(bounds, terms=terms > 0)
    return bounds


def _inputs(
    model: ModelProto, terms: int, width: int, looked_at: Sequence[Point]
) -> dict[str, Tensor]:
    constants = {item.name for item in model.graph.initializer}
    items = [item for item in model.graph.input if item.name not in constants]
    width = width if len(items) == 1 else 0
    found = {}
    for number, item in enumerate(items):
        kind, dims = item.type.tensor_type.elem_type, item.type.tensor_type.shape.dim
        if len(dims) not in (1, 2) or dims[0].HasField("dim_value"):
            raise NotAdmitted("inputs of another shape than [rows, columns]")
        of_terms = number >= len(items) - terms
        columns = int(dims[-1].dim_value) or (0 if of_terms else width)
        if len(dims) == 2 and bool(columns) is of_terms:
            raise NotAdmitted("an input whose number of columns is open")
        if of_terms and (kind, len(dims)) != (STRING, 2):
            raise NotAdmitted("terms of texts of another shape than [rows, terms]")
        shapes = tuple(_shape(point, len(dims), columns) for point in looked_at)
        texts = {item.name: 1} if kind == STRING else {}
        found[item.name] = Tensor(kind, shapes, texts=texts)
    return found


def _shape(point: Point, rank: int, columns: int) -> Shape:
    return (point.rows,) if rank == 1 else (point.rows, columns or point.terms)


def _check_limits(bounds: GraphBounds, *, terms: bool) -> None:
    """Insist that a row, what every run takes, and the longest text are within the limits."""
    memory, work = bounds.memory, bounds.work
    _check_size(memory.at(0), RUN_FIXED_BYTES, "for its constants")
    _check_work(work.at(0), RUN_OPERATIONS, "whatever it is run on")
    usual = _of_terms(bounds, _USUAL_TERMS) if terms else (1, 0, 0)
    _check_size(memory.at(*usual) - memory.at(0), ROW_BYTES, "for a row")
    _check_work(work.at(*usual) - work.at(0), ROW_OPERATIONS, "for a row")
    if terms:
        longest = _of_terms(bounds, MOST_TERMS)
        _check_size(memory.at(*longest), LONGEST_TEXT_BYTES, "for the longest text")
        _check_work(work.at(*longest), RUN_OPERATIONS, "for the longest text")
    if bounds.texts > TEXT_COPIES:
        raise NotAdmitted(f"{bounds.texts} copies of its texts, more than {TEXT_COPIES}")


def _of_a_row(growth: Growth, *, terms: bool) -> float:
    usual = (1, _USUAL_TERMS, _USUAL_TERMS) if terms else (1, 0, 0)
    return growth.at(*usual) - growth.at(0)


def _of_terms(bounds: GraphBounds, terms: int) -> tuple[int, int, int]:
    return 1, terms, min(bounds.kinds, terms)


def _check_size(size: float, most: int, what: str) -> None:
    if size > most:
        raise NotAdmitted(f"{size / _MIB:,.1f} MiB {what}, more than {most // _MIB}")


def _check_work(work: float, most: int, what: str) -> None:
    if work > most:
        raise NotAdmitted(
            f"{work / 1e6:,.0f} million operations {what}, more than {most // 10**6:,}"
        )
