"""ONNX engine: a verified graph in this process.

Small requests run where they arrive, which costs them no hop; those that would hold up others
go to threads. The border comes from the time that the graph took at warm-up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.frames import Array
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.signature import DType, Feature, Layout, Signature
from pushserve_server.build.bundles import BundleBroken, Bundles
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import ModelFailed, Unavailable
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.graph_batching import Inline, graph_failed
from pushserve_server.serve.malloc import allocated

logger = logging.getLogger(__name__)

INLINE_BUDGET: Final = 0.001
"""Longest run between two calls, in seconds."""
_LEAST: Final = 64 * 1024
_MOST: Final = 1024**2
_PYTHON: Final = 32 * 1024
_WARM_UP_ROWS: Final = 64
_WARM_UPS: Final = 3


class OnnxEngine:
    """Runs one graph."""

    name = EngineName.ONNX

    def __init__(self, version: Version, bundles: Bundles, pool: ThreadPoolExecutor) -> None:
        self._version = version
        self._bundles = bundles
        self._pool = pool
        self._predictor: OnnxPredictor | None = None
        self._inlines: dict[int, Inline] = {}
        self._inline_rows = 0
        self.size = 0

    @property
    def ready(self) -> bool:
        """Whether the graph is loaded."""
        return self._predictor is not None

    async def load(self) -> None:
        """Open the graph and run it a few times."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._load)

    def _load(self) -> None:
        signature = self._version.signature
        try:
            bundle = self._bundles.open(self._version.digest)
            graph = bundle.graph or bundle.folder / str(bundle.spec["artifact"])
            before = allocated()
            predictor = OnnxPredictor.open(graph, signature)
            self.size = _size(graph.stat().st_size, allocated() - before)
        except BundleBroken as error:
            raise Unavailable(f"its bundle is being built again: {error}") from None
        except BuildFailed as error:
            raise ModelFailed(error.message) from None
        outputs = signature.default_outputs
        try:
            self._inline_rows = rows_within(
                INLINE_BUDGET, lambda rows: predictor.predict(blank_rows(signature, rows), outputs)
            )
        except Exception:  # ONNX Runtime raises classes of its own
            # It refuses blanks, not all rows: how long it takes is not known.
            logger.info(
                "the graph of %s refuses rows of zeros and empty texts",
                self._version.model,
                exc_info=True,
            )
        self._predictor = predictor

    def inline(self, request: DecodedRequest, selection: OutputSelection) -> Inline | None:
        """Give the graph for these outputs, where the rows are few and it is loaded."""
        return self._inline(selection.mask) if request.rows <= self._inline_rows else None

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Run the graph on a thread."""
        inline = self._inline(selection.mask)
        assert inline is not None  # noqa: S101 (only loaded engines are called)
        loop = asyncio.get_running_loop()
        try:
            return selection.one(await loop.run_in_executor(self._pool, inline.run, request.arrays))
        except Exception as error:
            raise graph_failed(error) from error

    def _inline(self, mask: int) -> Inline | None:
        found, predictor = self._inlines.get(mask), self._predictor
        if found is not None or predictor is None:
            return found
        signature = self._version.signature
        names = [spec.name for i, spec in enumerate(signature.outputs) if mask >> i & 1]
        # Columns with nulls are not joined: each call of a table runs by itself.
        joins = signature.layout is Layout.MATRIX
        made = Inline(predictor.runner(names), self._inline_rows if joins else 0)
        self._inlines[mask] = made
        return made

    async def close(self) -> None:
        """Let the session go."""
        self._predictor = None
        self._inlines.clear()


def _size(file: int, grown: int) -> int:
    """Say what a graph takes, in bytes, from its file's size and malloc's growth meanwhile.

    Graphs of skl2onnx take 5 times their file and 80 KiB; the bounds keep out what other
    threads did at the same time. To that comes what Python holds for each version.
    """
    return min(max(grown, file + _LEAST), 16 * file + _MOST) + _PYTHON


def rows_within(budget: float, run: Callable[[int], object]) -> int:
    """Estimate how many rows fit into `budget` seconds, from runs of one and of many rows."""
    one, many = _fastest(lambda: run(1)), _fastest(lambda: run(_WARM_UP_ROWS))
    if one > budget:
        return 0
    each = max((many - one) / (_WARM_UP_ROWS - 1), 1e-9)
    return int(min((budget - one) / each + 1, 1_000_000))


def _fastest(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_WARM_UPS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def blank_rows(signature: Signature, rows: int) -> list[Array]:
    """Make rows of zeros and empty texts, or of the first category where others are refused."""
    if signature.layout is Layout.MATRIX:
        return [Array(DType.FLOAT64, np.zeros((rows, len(signature.inputs))))]
    return [_blank_column(feature, rows) for feature in signature.inputs]


def _blank_column(feature: Feature, rows: int) -> Array:
    dtype = feature.dtype
    if dtype.is_number:
        value = feature.categories[0] if feature.categories else 0
        return Array(dtype, np.full(rows, value, np.dtype(str(dtype))))
    values = np.empty(rows, object)
    values[:] = feature.categories[0] if feature.categories else ""
    return Array(dtype, values)
