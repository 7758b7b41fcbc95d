"""Graph job: holds one graph alone, and says whether it may run in a server process.

It has run nothing of a repository, so its answer stands where that of a build, which has, does
not. It loads the graph and runs it as a server process will, and tells what that took. On the
channel goes one message:

    {"ok": true, "bounds": …, "peak": bytes}      it may
    {"ok": true, "reason": text}                  it runs in a worker, for that reason
    {"ok": false, "reason": …, "message": …, "fix": …}
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.blank_rows import WARM_UP_ROWS, blank_rows, extreme_rows
from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.signature import Signature
from pushserve_sandbox.admission import denormal_trial
from pushserve_sandbox.admission.graph_safety import check_graph
from pushserve_sandbox.admission.not_admitted import NotAdmitted

PEAK: Final = 1024**3
"""What loading a graph may take for a while, in bytes."""


def main(channel: socket.socket, spec: Mapping[str, Any]) -> None:
    """Check the graph that `spec` names, with the signature that a build found."""
    messages.send(channel, check(Path(spec["graph"]), Signature.from_json(spec["signature"])))


def check(path: Path, signature: Signature) -> dict[str, Any]:
    """Check a graph; give the job's message."""
    before = _peak()
    try:
        checked = check_graph(path, len(signature.inputs))
        if checked.bounds is None:
            return {"ok": True, "reason": checked.worker_reason}
        predictor = OnnxPredictor.open(path, signature, checked.bounds)
        _try(predictor)
        bounds = _with_denormals(path, predictor, checked.bounds)
    except NotAdmitted as refusal:
        return {"ok": True, "reason": str(refusal)}
    except BuildFailed as failure:
        return failure.to_json()
    except MemoryError:
        return {"ok": True, "reason": "more memory to be loaded than a job may have"}
    peak = _peak() - before
    if peak > PEAK:
        reason = f"{peak // 1024**2:,} MiB to be loaded, more than {PEAK // 1024**2:,}"
        return {"ok": True, "reason": reason}
    return {"ok": True, "bounds": bounds.to_json(), "peak": peak}


def _try(predictor: OnnxPredictor) -> None:
    """Run a graph as a server process does when it loads it, and on extreme values.

    What it raises is told to callers; what ends this job would end a server process.
    """
    signature = predictor.signature
    for arrays in (
        blank_rows(signature, 1),
        blank_rows(signature, WARM_UP_ROWS),
        *extreme_rows(signature),
    ):
        with suppress(Exception):
            predictor.predict(arrays, [spec.name for spec in signature.outputs])


def _with_denormals(path: Path, zeros: OnnxPredictor, bounds: GraphBounds) -> GraphBounds:
    if not bounds.zeros:
        return bounds
    plain = OnnxPredictor.open(path, zeros.signature, replace(bounds, zeros=False))
    return denormal_trial.decide(bounds, plain, zeros)


def _peak() -> int:
    """Give the most that this process has had in memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
