"""Loading the model of a job, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed, printable
from pushserve_runtime.job_spec import Format, JobSpec
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.onnx_session import bound_run_memory
from pushserve_sandbox.fast_paths.select import with_chosen, with_first_equal
from pushserve_sandbox.inspection.estimator import inspect_estimator, predictor_for
from pushserve_sandbox.inspection.own_code import own_parts
from pushserve_sandbox.loading.artifact import load_estimator
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.predict_py import RecordsPredictor, load_script
from pushserve_sandbox.prediction.predictor import EstimatorPredictor, Predictor

_GRAPH: Final = "ONNX graph"
_RUN_MEMORY: Final = 1024**3
"""For what one run of a worker's graph takes, in bytes: it may be one whose values decide that."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can predict. `engine` is "onnx" or "worker", for the reason given.

    `fast_path` says which way through scikit-learn's code is taken; "" is its own. `joins_calls`
    tells whether rows of several callers may be predicted together.
    """

    predictor: Predictor
    estimator: str
    engine: str
    engine_reason: str
    fast_path: str = ""
    joins_calls: bool = True


def read_model(spec: JobSpec, notes: Notes) -> Any:
    """Load what can be loaded before any trial: an estimator, or a predict.py's predictor.

    An ONNX graph is opened by `make_predictor`.

    Raises:
        BuildFailed: it cannot be loaded.
    """
    if spec.format is Format.SCRIPT:
        return load_script(spec, notes)
    return None if spec.format is Format.ONNX else load_estimator(spec, notes)


def make_predictor(model: Any, spec: JobSpec, example_rows: Sequence[Any], notes: Notes) -> Loaded:
    """Find the model's signature, unless a build has, and make its predictor.

    Raises:
        BuildFailed: it cannot be served, or contradicts what the manifest declares.
    """
    if spec.format is Format.SCRIPT:
        if example_rows:
            model = model.with_order(example_rows[0])
        return Loaded(model, "predict.py", "worker", "it is Python code")
    if spec.format is Format.ONNX:
        return _graph(spec, example_rows)
    with notes.taken():
        if spec.built is not None:
            predictor = predictor_for(model, spec.built)
        else:
            predictor = inspect_estimator(model, spec.declared, example_rows)
    return Loaded(predictor, describe(model), "worker", "it is not an ONNX graph")


def choose_fast_path(
    loaded: Loaded, model: Any, spec: JobSpec, example_rows: Sequence[Any], notes: Notes
) -> Loaded:
    """Take a faster way through an estimator if there is one that gives the same bits.

    A build tries it on many rows; a worker is told what the build has chosen, and tries that
    again on a few.
    """
    predictor = loaded.predictor
    if not isinstance(predictor, EstimatorPredictor):
        return loaded
    with notes.taken():
        if spec.fast_path is not None:
            again = with_chosen(model, predictor, example_rows, spec.fast_path)
            return replace(loaded, predictor=again, fast_path=spec.fast_path)
        predictor, how, rows = with_first_equal(model, predictor, example_rows)
    if not how:
        return loaded
    reason = f"{loaded.engine_reason}; {how}, bit-equal on {rows:,} trial rows"
    return replace(loaded, predictor=predictor, fast_path=how, engine_reason=reason)


def joins_by_default(model: Any, predictor: Predictor) -> bool:
    """Whether calls are joined where no build has tried it: never those of people's own code."""
    if isinstance(predictor, RecordsPredictor):
        return predictor.by_row
    return model is None or next(own_parts(model), None) is None


def _graph(spec: JobSpec, example_rows: Sequence[Any]) -> Loaded:
    from pushserve_sandbox.inspection.graph import load_graph  # noqa: PLC0415 (ONNX alone needs it)

    if spec.built is not None:
        bound_run_memory(_RUN_MEMORY)
        predictor = OnnxPredictor.open(spec.artifact_path, spec.built, shared_memory=True)
        return Loaded(predictor, _GRAPH, "worker", "a build has said so")
    predictor, checked = load_graph(spec, example_rows)
    if spec.engine == "worker":
        return Loaded(predictor, _GRAPH, "worker", "the manifest says so")
    if not checked.worker_reason:
        return Loaded(predictor, _GRAPH, "onnx", "it is an ONNX graph whose size follows its rows")
    if spec.engine == "onnx":
        raise engine_not_possible(f"its graph needs {checked.worker_reason}")
    return Loaded(predictor, _GRAPH, "worker", f"its graph needs {checked.worker_reason}")


def engine_not_possible(reason: str) -> BuildFailed:
    """Say that a model cannot be served as a graph, which its manifest asks for."""
    return BuildFailed(
        "ENGINE_NOT_POSSIBLE",
        f'the manifest asks for engine = "onnx", but {reason}',
        'set engine = "auto" or leave it out, and the model is served by a worker; '
        "or use steps that compile (docs/compile.md lists them)",
    )


def describe(estimator: Any) -> str:
    """Name an estimator's class, and a pipeline's steps."""
    steps = getattr(estimator, "steps", None)
    name = type(estimator).__name__
    if isinstance(steps, list):
        name += "(" + ", ".join(type(step).__name__ for _, step in steps) + ")"
    return printable(name)
