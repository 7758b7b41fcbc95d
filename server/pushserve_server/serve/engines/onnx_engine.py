"""ONNX engine: a verified graph in this process.

Small requests run where they arrive, which costs them no hop; those that would hold up others
go to threads. The border comes from what the graph took at warm-up (`run_costs`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.frames import Array
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.onnx_session import is_out_of_memory
from pushserve_runtime.signature import Layout
from pushserve_runtime.text_terms import TextTooLong
from pushserve_server.build.bundles import Bundle, BundleBroken, Bundles
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadInput, ModelFailed, Overloaded, Unavailable, Violation
from pushserve_server.serve.codec.decoding import DecodedRequest
from pushserve_server.serve.codec.output_selection import OutputSelection
from pushserve_server.serve.engines.graph_batching import Inline, Run, graph_failed
from pushserve_server.serve.engines.run_costs import InlineRule, measure
from pushserve_server.serve.malloc import allocated

logger = logging.getLogger(__name__)

_LEAST: Final = 64 * 1024
_MOST: Final = 1024**2
_PYTHON: Final = 32 * 1024


class OnnxEngine:
    """Runs one graph.

    With `shared_memory`, its runs take theirs from what all graphs of this process may have.
    """

    name = EngineName.ONNX

    def __init__(
        self,
        version: Version,
        bundles: Bundles,
        pool: ThreadPoolExecutor,
        *,
        shared_memory: bool = False,
    ) -> None:
        self._version = version
        self._bundles = bundles
        self._pool = pool
        self._shared_memory = shared_memory
        self._predictor: OnnxPredictor | None = None
        self._runs: dict[int, Run] = {}
        self._inlines: dict[int, Inline] = {}
        self._rule = InlineRule(None)
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
            bundle = self._bundles.verify(self._version.digest, graph_only=True)
            graph = bundle.graph or bundle.folder / str(bundle.spec["artifact"])
            before = allocated()
            predictor = OnnxPredictor.open(
                graph, signature, _bounds(bundle), shared_memory=self._shared_memory
            )
            self.size = _size(graph.stat().st_size, allocated() - before)
        except BundleBroken as error:
            raise Unavailable(f"its bundle is being built again: {error}") from None
        except BuildFailed as error:
            raise ModelFailed(error.message) from None
        outputs = signature.default_outputs
        try:
            costs = measure(
                signature, lambda rows: predictor.predict(rows, outputs), predictor.text_size
            )
            self._rule = InlineRule(costs)
        except Exception:  # ONNX Runtime raises classes of its own
            # It refuses blanks, not all rows: how long it takes is not known.
            logger.info(
                "the graph of %s refuses rows of zeros and empty texts",
                self._version.model,
                exc_info=True,
            )
        self._predictor = predictor

    def inline(self, request: DecodedRequest, selection: OutputSelection) -> Inline | None:
        """Give the graph for these outputs, where that is quick and it is loaded."""
        predictor = self._predictor
        if predictor is None or not self._rule.allows(
            request.rows, lambda: request.arrays, predictor.text_size
        ):
            return None
        found = self._inlines.get(selection.mask)
        if found is None:
            run = self._run(selection.mask, predictor)
            found = Inline(self._timed(run), self._rows_together())
            self._inlines[selection.mask] = found
        return found

    def _rows_together(self) -> int:
        # Columns with nulls are not joined: each call of a table runs by itself.
        version = self._version
        joins = version.report.get("joins_calls", True)
        joins = joins and version.signature.layout is Layout.MATRIX
        return self._rule.most_rows if joins else 0

    def _timed(self, run: Run) -> Run:
        """Have a run that takes far longer than it may be the last one between two calls."""

        def timed(arrays: list[Array]) -> list[Array]:
            clock = self._rule.clock
            start = clock()
            try:
                return run(arrays)
            finally:
                seconds = clock() - start
                if self._rule.note(seconds):
                    logger.warning(
                        "%s v%d took %.1f ms for a call that was to be quick; from now on its "
                        "calls run on threads of their own",
                        self._version.model,
                        self._version.number,
                        1000 * seconds,
                    )

        return timed

    async def predict(self, request: DecodedRequest, selection: OutputSelection) -> bytes:
        """Run the graph on a thread."""
        assert self._predictor is not None  # noqa: S101 (only loaded engines are called)
        run = self._run(selection.mask, self._predictor)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._pool, lambda: selection.one(run(request.arrays))
            )
        except Exception as error:
            raise graph_failed(error) from error

    def _run(self, mask: int, predictor: OnnxPredictor) -> Run:
        found = self._runs.get(mask)
        if found is None:
            outputs = self._version.signature.outputs
            names = [spec.name for i, spec in enumerate(outputs) if mask >> i & 1]
            found = self._runs[mask] = self._explained(predictor.runner(names))
        return found

    def _explained(self, run: Callable[[list[Array]], list[Array]]) -> Run:
        """Have a run say what a caller can do about it, where that is known."""

        def explained(arrays: list[Array]) -> list[Array]:
            try:
                return run(arrays)
            except TextTooLong as error:
                column = self._version.signature.inputs[error.feature].name
                what = f"column {column!r} has {error}"
                violation = Violation(column, str(error))
                raise BadInput(what, [violation], reason="TEXT_TOO_LONG") from None
            except Exception as error:
                if is_out_of_memory(error):
                    raise Overloaded("there is no memory left for the call; try again") from error
                raise

        return explained

    async def close(self) -> None:
        """Let the session go."""
        self._predictor = None
        self._runs.clear()
        self._inlines.clear()


def _bounds(bundle: Bundle) -> GraphBounds:
    """Give what has been proved of a bundle's graph.

    Raises:
        BundleBroken: nothing, or by other rules than this server's.
    """
    try:
        return GraphBounds.from_json(bundle.spec.get("bounds") or {})
    except ValueError as error:
        raise BundleBroken(f"its graph has not been checked: {error}") from None


def _size(file: int, grown: int) -> int:
    """Say what a graph takes, in bytes, from its file's size and malloc's growth meanwhile.

    Graphs of skl2onnx take 5 times their file and 80 KiB; the bounds keep out what other
    threads did at the same time. To that comes what Python holds for each version.
    """
    return min(max(grown, file + _LEAST), 16 * file + _MOST) + _PYTHON
