"""ONNX predictor: opens a graph and runs it.

A graph is data: `OnnxPredictor` is also what a server process runs it with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.build_error import BuildFailed, brief
from pushserve_runtime.frames import Array
from pushserve_runtime.output_arrays import dense, to_array
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_runtime.text_terms import TERMS_KEY, TermsFeed, from_metadata

NULL_TEXT_KEY: Final = "pushserve.null_text"
"""A graph's metadata under this key is what stands for a text that is missing; else it is ""."""
NULL_TEXT: Final = "\ufdd0null"
"""What graphs have there that a build makes; no text that is meant to be read has U+FDD0."""

CELLS_KEY: Final = "pushserve.row_cells"
"""A graph's metadata under this key is how many values its widest tensor has for a row."""
WIDE: Final = 1_000
"""From how many on that is noted: 4 MiB of rows are run at once where it is less."""
_CELLS: Final = 4_000_000

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


def open_session(graph: Path | bytes) -> Any:
    """Open a graph, a file or its content, with ONNX Runtime on one thread.

    Raises:
        BuildFailed: ARTIFACT_UNREADABLE.
    """
    import onnxruntime as ort  # noqa: PLC0415 (its import takes longer than most models' loading)

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # An arena and a pattern of its own for each of many small graphs cost memory (120 KiB a
    # graph against 80, and 1 MiB of addresses) and no call is faster for them.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    name = "the graph" if isinstance(graph, bytes) else graph.name
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own for each kind of trouble
        raise BuildFailed(
            "ARTIFACT_UNREADABLE",
            f"ONNX Runtime cannot load {name}: {brief(error)}",
            "export it with operators and an opset that ONNX Runtime knows",
        ) from error


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


def output_names(session: Any) -> dict[str, str]:
    """Map the names that outputs are served under to the graph's, the label first."""
    graph = [item.name for item in session.get_outputs()]
    names = {_USUAL.get(name, name): name for name in graph}
    if len(names) < len(graph):
        names = {name: name for name in graph}
    return dict(sorted(names.items(), key=lambda item: item[0] != "label"))


Run = Callable[[Sequence[Array]], list[Array]]

_FINISHES: Final[dict[tuple[str, DType], Callable[[NDArray[Any]], NDArray[Any]]]] = {
    ("tensor(double)", DType.FLOAT64): lambda result: result,
    ("tensor(float)", DType.FLOAT64): lambda result: result.astype("<f8"),
    ("tensor(int64)", DType.INT64): lambda result: result,
    ("tensor(string)", DType.STRING): lambda result: result,
}
"""How an output of a graph's type becomes one of the signature's."""


class OnnxPredictor:
    """A graph with its signature."""

    def __init__(self, session: Any, signature: Signature, inputs: Sequence[GraphInput]) -> None:
        self._session = session
        self._signature = signature
        metadata = session.get_modelmeta().custom_metadata_map
        made = from_metadata(metadata.get(TERMS_KEY, ""))
        self._most = max(1, _CELLS // int(metadata.get(CELLS_KEY) or 1))
        self._inputs = inputs[: len(inputs) - len(made)]
        self._terms = TermsFeed(made, [i.name for i in inputs[-len(made) :]]) if made else None
        self._graph_outputs = output_names(session)
        self._dtypes = [_NUMPY[item.type] for item in self._inputs]
        self._null_text = str(metadata.get(NULL_TEXT_KEY, ""))

    @classmethod
    def open(cls, path: Path, signature: Signature) -> OnnxPredictor:
        """Open a graph that a build has checked, with the signature that the build made.

        Raises:
            BuildFailed: ONNX Runtime cannot load it.
        """
        session = open_session(path)
        return cls(session, signature, graph_inputs(session))

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give the named outputs; see `predictor.Predictor`."""
        names = [self._graph_outputs[name] for name in outputs]
        rows = len(arrays[0].values)
        if self._terms is None and rows <= self._most:
            results = self._session.run(names, self.feed(arrays))
            return [to_array(plain(result, rows)) for result in results]
        parts = [
            [plain(result, rows) for result in self._session.run(names, feed)]
            for feed, rows in self.feeds(arrays)
        ]
        return [to_array(np.concatenate(items)) for items in zip(*parts, strict=True)]

    def feeds(self, arrays: Sequence[Array]) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
        """Give what the session is run on: as many rows at once as memory is for, and how many."""
        feed, rows = self.feed(arrays), len(arrays[0].values)
        if self._terms is not None:
            yield from self._terms.feeds(feed, [array.values for array in arrays])
            return
        for start in range(0, rows, self._most):
            part = {name: values[start : start + self._most] for name, values in feed.items()}
            yield part, min(self._most, rows - start)

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
        run, taken, dtype = self._session.run, self._inputs[0].name, self._dtypes[0]
        most = self._most

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
        if array.nulls is None:
            return array.values.astype(dtype, copy=False)
        values = array.values.astype(dtype)
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
