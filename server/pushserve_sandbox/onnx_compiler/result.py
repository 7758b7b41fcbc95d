"""Compile result: a graph, or why there is none. Needs no compiler."""

from __future__ import annotations

from dataclasses import dataclass

from pushserve_runtime.onnx_predictor import OnnxPredictor


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph that answers the same; `predictor` runs it, `reason` says what was compared."""

    graph: bytes
    predictor: OnnxPredictor
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no graph, for this reason."""

    reason: str
