"""Graph's signature: what an ONNX graph takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pushserve_runtime.build_error import BuildFailed, brief
from pushserve_runtime.job_spec import Declared, JobSpec
from pushserve_runtime.onnx_predictor import (
    DTYPES,
    GraphInput,
    OnnxPredictor,
    graph_inputs,
    output_names,
    sized,
)
from pushserve_runtime.onnx_session import open_session
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.admission.graph_safety import Checked, check_graph
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.feature_types import check_names, declared_outputs
from pushserve_sandbox.inspection.probing import Row, attempt, made_rows, probe_nullable
from pushserve_sandbox.prediction.model_outputs import default_outputs
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, row_values


def load_graph(spec: JobSpec, example_rows: Sequence[Any]) -> tuple[OnnxPredictor, Checked]:
    """Check and open a graph, find its signature by a trial, and make its predictor.

    Raises:
        BuildFailed: it is no graph that can be served, or contradicts the manifest.
    """
    width = _open_width(spec.declared, example_rows)
    checked = check_graph(spec.artifact_path, width)
    session = open_session(spec.artifact_path)
    inputs = _sized(graph_inputs(session), width)
    features, layout, named = _features(inputs, spec.declared)
    draft = Signature(layout, features, (), (), named)
    trial = OnnxPredictor(session, draft, inputs, checked.bounds)
    rows, outputs = _try_outputs(trial, list(output_names(session)), example_rows, checked.classes)
    features = _nullable(trial, rows[0], [item.name for item in outputs], spec.declared)
    signature = Signature(
        layout,
        features,
        outputs,
        declared_outputs(spec.declared, outputs) or default_outputs(outputs),
        named,
    )
    return OnnxPredictor(session, signature, inputs, checked.bounds), checked


def _open_width(declared: Declared, example_rows: Sequence[Any]) -> int:
    """Give the width of an input whose graph leaves it open, from the manifest or the examples."""
    return len(declared.inputs) or next((len(r) for r in example_rows if isinstance(r, list)), 0)


def _sized(inputs: Sequence[GraphInput], width: int) -> tuple[GraphInput, ...]:
    found = sized(inputs, width) if width else tuple(inputs)
    if any(item.width < 0 for item in found):
        raise BuildFailed(
            "SIGNATURE_UNKNOWN",
            "the graph does not say how many columns it takes",
            "declare them in pushserve.toml: [signature] inputs = [{name = …}, …]",
        )
    return found


def _features(
    inputs: Sequence[GraphInput], declared: Declared
) -> tuple[tuple[Feature, ...], Layout, bool]:
    if len(inputs) == 1 and inputs[0].width > 0 and DTYPES[inputs[0].type].is_number:
        count = inputs[0].width
        named = len(declared.inputs) == count
        names = [f.name for f in declared.inputs] if named else [f"x{i}" for i in range(count)]
        layout = Layout.MATRIX
        dtypes = [DTYPES[inputs[0].type]] * count
    else:
        named, layout = True, Layout.TABLE
        names = [name for item in inputs for name in _columns(item)]
        dtypes = [DTYPES[item.type] for item in inputs for _ in _columns(item)]
    check_names([feature.name for feature in declared.inputs], names)
    features = tuple(Feature(name, dtype) for name, dtype in zip(names, dtypes, strict=True))
    _check_dtypes(features, declared)
    return features, layout, named


def _columns(item: GraphInput) -> list[str]:
    return [item.name] if item.width <= 1 else [f"{item.name}_{i}" for i in range(item.width)]


def _check_dtypes(features: Sequence[Feature], declared: Declared) -> None:
    wanted = {feature.name: feature.dtype for feature in declared.inputs}
    for feature in features:
        dtype = wanted.get(feature.name)
        if dtype is not None and dtype.is_number != feature.dtype.is_number:
            raise BuildFailed(
                "SIGNATURE_MISMATCH",
                f"[signature] declares {feature.name!r} as {dtype}, but the graph takes "
                f"{feature.dtype}",
                f"declare {feature.name!r} as {feature.dtype}, or leave its dtype out",
            )


def _try_outputs(
    trial: OnnxPredictor, names: list[str], example_rows: Sequence[Any], classes: tuple[str, ...]
) -> tuple[list[Row], tuple[OutputSpec, ...]]:
    error: BaseException | None = None
    for rows in _candidates(trial.signature.inputs, example_rows):
        found = []
        for name in names:
            result = attempt(partial(_run, trial, rows, [name]))
            if isinstance(result, BaseException):
                error = error or result
            else:
                found.append(_output_spec(name, result[0], classes))
        if found:
            return rows, tuple(found)
    raise BuildFailed(
        "TRIAL_FAILED",
        f"the graph failed on a trial row: {brief(error) if error else 'no row was found'}",
        "commit examples.json with a row that the model takes",
    ) from error


def _candidates(features: Sequence[Feature], example_rows: Sequence[Any]) -> list[list[Row]]:
    given = []
    for row in example_rows[:3]:
        try:
            given.append(row_values(features, row))
        except RowInvalid:
            continue  # the examples' own check says so
    made = made_rows(features, [Known()] * len(features))
    return [given, made] if given else [made]


def _run(trial: OnnxPredictor, rows: list[Row], names: Sequence[str]) -> list[Any]:
    signature = trial.signature
    return trial.predict(arrays_of(signature.layout, signature.inputs, rows), names)


def _output_spec(name: str, array: Any, classes: tuple[str, ...]) -> OutputSpec:
    columns = array.values.shape[1] if array.values.ndim == 2 else 0
    fits = name == "probabilities" and len(classes) == columns
    return OutputSpec(name, array.dtype, columns, classes if fits else ())


def _nullable(
    trial: OnnxPredictor, row: Row, outputs: Sequence[str], declared: Declared
) -> tuple[Feature, ...]:
    """A graph never refuses NaN: it may come in where no output turns to NaN by it."""
    features = trial.signature.inputs

    def accepts(changed: Row) -> bool:
        result = attempt(lambda: _run(trial, [changed], outputs))
        if isinstance(result, BaseException):
            return False
        floats = [array.values for array in result if array.dtype is DType.FLOAT64]
        return not any(bool(np.isnan(values).any()) for values in floats)

    numbers = [feature.dtype in (DType.FLOAT32, DType.FLOAT64) for feature in features]
    found = probe_nullable(features, [Known()] * len(features), row, accepts)
    wanted = {feature.name: feature.nullable for feature in declared.inputs}
    return tuple(
        replace(f, nullable=number and nullable and wanted.get(f.name) is not False)
        for f, number, nullable in zip(features, numbers, found, strict=True)
    )
