"""ONNX predictor: opens a graph and runs it.

A graph is data: `OnnxPredictor` is also what a server process runs it with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.denormals import as_zeros
from pushserve_runtime.frames import Array
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.onnx_session import giving_back, open_session
from pushserve_runtime.output_arrays import dense, to_array
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_runtime.terms_feed import TERMS_KEY, TermsFeed, from_metadata
from pushserve_runtime.text_terms import TextTooLong

NULL_TEXT_KEY: Final = "pushserve.null_text"
"""A graph's metadata under this key is what stands for a text that is missing; else it is ""."""
NULL_TEXT: Final = "\ufdd0null"
"""What graphs have there that a build makes; no text that is meant to be read has U+FDD0."""

REFUSES: Final = "pushserve_refuses_"
"""Nodes of graphs that a build makes have names like this where they raise on purpose."""

# What skl2onnx calls them.
_USUAL: Final = {
    "output_label": "label",
    "output_probability": "probabilities",
    "variable": "value",
}

_NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "tensor(float)": np.dtype("f4"),
    "tensor(double)": np.dtype("f8"),
    "tensor(int64)": np.dtype("i8"),
    "tensor(int32)": np.dtype("i4"),
    "tensor(bool)": np.dtype("?"),
    "tensor(string)": np.dtype(object),
}
DTYPES: Final = {
    "tensor(float)": DType.FLOAT32,
    "tensor(double)": DType.FLOAT64,
    "tensor(int64)": DType.INT64,
    "tensor(int32)": DType.INT32,
    "tensor(bool)": DType.BOOL,
    "tensor(string)": DType.STRING,
}


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input of a graph: `width` columns of a [rows, width] tensor, or 0 for [rows]."""

    name: str
    type: str
    width: int


def graph_inputs(session: Any) -> tuple[GraphInput, ...]:
    """Read a graph's inputs.

    Raises:
        BuildFailed: ONNX_SHAPE, an input is no [rows] or [rows, columns] of a known type.
    """
    found = []
    for item in session.get_inputs():
        shape = list(item.shape)
        if item.type not in DTYPES or len(shape) not in (1, 2) or isinstance(shape[0], int):
            raise BuildFailed(
                "ONNX_SHAPE",
                f"the input {item.name!r} is a {item.type} of shape {shape}",
                "export it with inputs of shape [None, columns]: the first dimension, left open, "
                "is the row",
            )
        width = 0 if len(shape) == 1 else shape[1] if isinstance(shape[1], int) else -1
        found.append(GraphInput(item.name, item.type, width))
    return tuple(found)


def sized(inputs: Sequence[GraphInput], width: int) -> tuple[GraphInput, ...]:
    """Give an input that leaves its columns open so many, if it is the only one."""
    if len(inputs) == 1 and inputs[0].width < 0:
        return (replace(inputs[0], width=width),)
    return tuple(inputs)


def output_names(session: Any) -> dict[str, str]:
    """Map the names that outputs are served under to the graph's, the label first."""
    graph = [item.name for item in session.get_outputs()]
    names = {_USUAL.get(name, name): name for name in graph}
    if len(names) < len(graph):
        names = {name: name for name in graph}
    return dict(sorted(names.items(), key=lambda item: item[0] != "label"))


Run = Callable[[Sequence[Array]], list[Array]]

Feeds = Generator[tuple[dict[str, NDArray[Any]], int], None, None]

_ONE_LARGE_RUN: Final = threading.Lock()
_ANY_NUMBER: Final = 2**31
_SMALL_RUN: Final = 16 * 1024**2
"""What a run of fewer bytes leaves behind in memory that is shared, another one uses again."""

_FINISHES: Final[dict[tuple[str, DType], Callable[[NDArray[Any]], NDArray[Any]]]] = {
    ("tensor(double)", DType.FLOAT64): lambda result: result,
    ("tensor(float)", DType.FLOAT64): lambda result: result.astype("<f8"),
    ("tensor(int64)", DType.INT64): lambda result: result,
    ("tensor(string)", DType.STRING): lambda result: result,
}
"""How an output of a graph's type becomes one of the signature's."""


class OnnxPredictor:
    """A graph with its signature, and with `bounds` where it has been proved what a run takes."""

    def __init__(
        self,
        session: Any,
        signature: Signature,
        inputs: Sequence[GraphInput],
        bounds: GraphBounds | None = None,
        *,
        shared_memory: bool = False,
    ) -> None:
        self._session = session
        self._run_session = as_zeros(session.run) if bounds and bounds.zeros else session.run
        self._giving_back = giving_back() if shared_memory else None
        self._signature = signature
        self._bounds = bounds
        metadata = session.get_modelmeta().custom_metadata_map
        made = from_metadata(metadata.get(TERMS_KEY, ""))
        names = [i.name for i in inputs[-len(made) :]]
        self._inputs = inputs[: len(inputs) - len(made)]
        self._terms = TermsFeed(made, names, bounds.fits if bounds else None) if made else None
        self._most = bounds.rows_at_once() if bounds else _ANY_NUMBER
        self._few = _ANY_NUMBER
        if shared_memory:
            self._few = bounds.rows_at_once(_SMALL_RUN) if bounds else 0
        texts = [i for i, f in enumerate(signature.inputs) if f.dtype is DType.STRING]
        self._texts = texts if bounds and bounds.texts else []
        self._graph_outputs = output_names(session)
        self._dtypes = [_NUMPY[item.type] for item in self._inputs]
        self._null_text = str(metadata.get(NULL_TEXT_KEY, ""))

    @classmethod
    def open(
        cls,
        path: Path,
        signature: Signature,
        bounds: GraphBounds | None = None,
        *,
        shared_memory: bool = False,
    ) -> OnnxPredictor:
        """Open a graph that a build has checked, with the signature that the build made.

        `shared_memory` is for processes that have called `bound_run_memory`.

        Raises:
            BuildFailed: ONNX Runtime cannot load it.
        """
        session = open_session(path, shared_memory=shared_memory)
        inputs = sized(graph_inputs(session), len(signature.inputs))
        return cls(session, signature, inputs, bounds, shared_memory=shared_memory)

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    def text_size(self, arrays: Sequence[Array]) -> tuple[int, int]:
        """Give how many letters and, about, how many terms the texts of a request have."""
        if self._signature.layout is Layout.MATRIX:
            return 0, 0
        texts = [a.values for a in arrays if a.dtype is DType.STRING]
        letters = sum(len(text) for values in texts for text in values)
        terms = self._terms.most_terms([a.values for a in arrays]) if self._terms else 0
        return letters, terms

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give the named outputs; see `predictor.Predictor`.

        Raises:
            TextTooLong: a text takes more than is allowed.
        """
        names = [self._graph_outputs[name] for name in outputs]
        alone = _ONE_LARGE_RUN if self._is_large(arrays) else nullcontext()
        with alone, closing(self.feeds(arrays)) as feeds:
            parts = [
                [plain(result, rows) for result in self._run(names, feed, rows)]
                for feed, rows in feeds
            ]
        if len(parts) == 1:
            return [to_array(result) for result in parts[0]]
        return [to_array(np.concatenate(items)) for items in zip(*parts, strict=True)]

    def feeds(self, arrays: Sequence[Array]) -> Feeds:
        """Give what the session is run on: as many rows at once as memory is for, and how many."""
        feed, rows = self.feed(arrays), len(arrays[0].values)
        most = self._rows_at_once(arrays)
        if self._terms is not None:
            yield from self._terms.feeds(feed, [array.values for array in arrays])
            return
        if rows <= most:
            yield feed, rows
            return
        for start in range(0, rows, most):
            part = {name: values[start : start + most] for name, values in feed.items()}
            yield part, min(most, rows - start)

    def _run(self, names: Sequence[str], feed: dict[str, NDArray[Any]], rows: int) -> list[Any]:
        small = self._giving_back is None or (rows <= self._few and self._terms is None)
        results: list[Any] = self._run_session(names, feed, None if small else self._giving_back)
        return results

    def _is_large(self, arrays: Sequence[Array]) -> bool:
        """Whether some row alone takes more than a run should: one with a long text."""
        if self._terms is None or self._bounds is None:
            return False
        return not self._bounds.fits(1, self._terms.longest([a.values for a in arrays]))

    def _rows_at_once(self, arrays: Sequence[Array]) -> int:
        if not self._texts or self._bounds is None:
            return self._most
        longest = [(max(map(len, arrays[i].values)), i) for i in self._texts]
        together = sum(length for length, _ in longest)
        if not self._bounds.takes_text(together):
            length, feature = max(longest)
            raise TextTooLong(f"a text of {length:,} letters, more than this model takes", feature)
        return min(self._most, self._bounds.rows_of_text(together))

    def runner(self, outputs: Sequence[str]) -> Run:
        """Make the function that `predict` is for these outputs, with all looked up once."""
        specs = {spec.name: spec for spec in self._signature.outputs}
        types = {item.name: item.type for item in self._session.get_outputs()}
        names = [self._graph_outputs[name] for name in outputs]
        wanted = [_FINISHES.get((types[self._graph_outputs[o]], specs[o].dtype)) for o in outputs]
        finishes = [finish for finish in wanted if finish is not None]
        if self._signature.layout is not Layout.MATRIX or len(finishes) < len(outputs):
            return lambda arrays: self.predict(arrays, outputs)
        # Scalars come as [rows] or [rows, 1], whichever the graph likes.
        shapes = [(-1, specs[name].columns) if specs[name].columns else (-1,) for name in outputs]
        finish_all = [
            (f, specs[o].dtype, s) for f, o, s in zip(finishes, outputs, shapes, strict=True)
        ]
        run, taken, dtype = self._run_session, self._inputs[0].name, self._dtypes[0]
        most = min(self._most, self._few)

        def run_matrix(arrays: Sequence[Array]) -> list[Array]:
            matrix = arrays[0].values
            if len(matrix) > most:
                return self.predict(arrays, outputs)
            results = run(names, {taken: matrix if matrix.dtype == dtype else matrix.astype(dtype)})
            return [
                Array(kind, finish(result).reshape(shape))
                for result, (finish, kind, shape) in zip(results, finish_all, strict=True)
            ]

        return run_matrix

    def feed(self, arrays: Sequence[Array]) -> dict[str, NDArray[Any]]:
        """Give the inputs of a graph that takes a request's arrays as they are."""
        if self._signature.layout is Layout.MATRIX:
            return {self._inputs[0].name: arrays[0].values.astype(self._dtypes[0], copy=False)}
        feed, at = {}, 0
        for item, dtype in zip(self._inputs, self._dtypes, strict=True):
            count = max(1, item.width)
            columns = [self._column(array, dtype) for array in arrays[at : at + count]]
            feed[item.name] = columns[0] if item.width == 0 else np.column_stack(columns)
            at += count
        return feed

    def _column(self, array: Array, dtype: np.dtype[Any]) -> NDArray[Any]:
        values: NDArray[Any] = array.values.astype(dtype, copy=False)
        if dtype.kind == "O" and self._null_text:
            same = values == self._null_text
            if same.any():  # no missing text, but one that nobody knows
                values = np.where(same, self._null_text + NULL_TEXT, values)
        if array.nulls is None:
            return values
        values = values.copy()
        values[array.nulls] = self._null_text if dtype.kind == "O" else np.nan
        return values


def plain(result: Any, rows: int) -> NDArray[Any]:
    """Bring a graph's output into [rows] or [rows, columns].

    A ZipMap's list of dicts becomes a matrix, its keys sorted; one column alone
    becomes [rows].
    """
    if isinstance(result, list) and result and isinstance(result[0], dict):
        keys = sorted(result[0])
        result = np.array([[row[key] for key in keys] for row in result])
    array = dense(np.asarray(result), rows)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
