"""Example check: runs a repository's examples and compares what they give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pushserve_runtime.build_error import BuildFailed, listed, printable
from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import JobSpec, Tolerance
from pushserve_runtime.open_columns import whole_values
from pushserve_runtime.signature import DType, Layout, OutputSpec
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.probing import made_rows, plain_rows
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.diagnosis import explain
from pushserve_sandbox.loading.example_files import Example
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, records_array, row_values


def check_examples(
    predictor: Predictor, examples: Sequence[Example], spec: JobSpec, notes: Notes
) -> int:
    """Run every example and compare what it gives; return how many held.

    Raises:
        BuildFailed: EXAMPLES_INVALID, EXAMPLES_FAILED, or what the code was stopped for.
    """
    for number, example in enumerate(examples, start=1):
        arrays = _arrays(predictor, example, number)
        try:
            with notes.taken():
                got = _run(predictor, arrays, example)
        except (Exception, SystemExit) as error:
            what = f"example {number} cannot be predicted"
            raise explain(error, spec, notes, what, "EXAMPLES_FAILED") from error
        if example.has_output:
            _compare(example, got, predictor.signature.outputs, number, spec.tolerance)
    return len(examples)


def try_made_rows(predictor: Predictor, spec: JobSpec, notes: Notes) -> str:
    """Try a predict.py that has no examples on rows made up for its declared inputs; say so.

    Raises:
        BuildFailed: TRIAL_FAILED, it raised on all of them, or what the code was stopped for.
    """
    inputs = predictor.signature.inputs
    if not inputs:
        return "nothing was tried: there are no examples, and no inputs are declared"
    features = [replace(f, dtype=DType.FLOAT64) if f.dtype is DType.JSON else f for f in inputs]
    rows = [
        dict(zip([f.name for f in inputs], values, strict=True))
        for made in (made_rows, plain_rows)
        for values in made(features, [Known()] * len(features))
    ]
    first: BaseException | None = None
    for row in rows:
        try:
            with notes.taken():
                predictor.predict([records_array([row])], predictor.signature.default_outputs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a made row may be one that it refuses)
            first = first or error
        else:
            return "no example was tried, but a row made up for the declared inputs"
    assert first is not None  # noqa: S101 (rows are made for every signature)
    what = "predict.py raised on rows made up for its declared inputs"
    raise explain(first, spec, notes, what, "TRIAL_FAILED") from first


def _arrays(predictor: Predictor, example: Example, number: int) -> list[Array]:
    signature = predictor.signature
    if signature.layout is Layout.RECORDS:
        return [records_array([whole_values(example.input)])]
    try:
        row = row_values(signature.inputs, example.input)
    except RowInvalid as error:
        names = listed([feature.name for feature in signature.inputs])
        raise BuildFailed(
            "EXAMPLES_INVALID",
            f"example {number}: {printable(str(error))}",
            f"give each row the model's {len(signature.inputs)} features: {names}",
        ) from error
    return arrays_of(signature.layout, signature.inputs, [row])


def _run(predictor: Predictor, arrays: list[Array], example: Example) -> dict[str, Any]:
    """Give the outputs that the example speaks of, each as plain values of its one row."""
    signature = predictor.signature
    names = list(signature.default_outputs)
    available = {spec.name for spec in signature.outputs}
    if _names_outputs(example.output, available):
        names = [name for name in example.output if name in available]
    results = predictor.predict(arrays, names)
    return {
        name: array.values[0].tolist() if hasattr(array.values[0], "tolist") else array.values[0]
        for name, array in zip(names, results, strict=True)
    }


def _names_outputs(expected: Any, available: set[str]) -> bool:
    return isinstance(expected, Mapping) and bool(available & set(expected))


def _compare(
    example: Example,
    got: Mapping[str, Any],
    outputs: Sequence[OutputSpec],
    number: int,
    tolerance: Tolerance,
) -> None:
    specs = {spec.name: spec for spec in outputs}
    main = next(iter(got))
    expected: Mapping[str, Any] = {main: example.output}
    if _names_outputs(example.output, set(specs)) or not _may_be(example.output, specs[main]):
        expected = example.output
    for name, value in expected.items():
        if name not in specs:
            raise BuildFailed(
                "EXAMPLES_INVALID",
                f"example {number} expects the output {printable(name, 80)!r}, which the model "
                "does not give",
                "expect a bare value, or outputs of: " + listed(list(specs)),
            )
        actual = _by_class(got[name], specs[name]) if isinstance(value, Mapping) else got[name]
        if not matches(value, actual, tolerance):
            raise BuildFailed(
                "EXAMPLES_FAILED",
                f"example {number}, output {name}: expected {_shown(value)}, got {_shown(actual)}",
                "correct the model, or the example if the new output is right",
            )


def _may_be(expected: Any, spec: OutputSpec) -> bool:
    """Whether an output can be this: an object only by its classes, or from a predict.py."""
    return not isinstance(expected, Mapping) or bool(spec.classes) or spec.dtype is DType.JSON


def _by_class(value: Any, spec: OutputSpec) -> Any:
    """Name the columns of a row, where the example names them."""
    if isinstance(value, list) and spec.classes:
        return dict(zip(spec.classes, value, strict=True))
    return value


def matches(expected: Any, got: Any, tolerance: Tolerance) -> bool:
    """Whether `got` is as expected: objects may hold more keys, floats may be a little off."""
    if isinstance(expected, Mapping):
        return isinstance(got, Mapping) and all(
            key in got and matches(value, got[key], tolerance) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(expected) == len(got)
            and all(matches(e, g, tolerance) for e, g in zip(expected, got, strict=True))
        )
    if _is_number(expected) and _is_number(got):
        return _close(_as_float(expected), _as_float(got), tolerance)
    if expected is None and isinstance(got, float):
        return math.isnan(got)
    return type(expected) is type(got) and bool(expected == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.copysign(math.inf, value > 0 or -1)


def _close(expected: float, got: float, tolerance: Tolerance) -> bool:
    if math.isnan(expected) or math.isnan(got):
        return math.isnan(expected) and math.isnan(got)
    if math.isinf(expected) or math.isinf(got):
        return expected == got
    return abs(got - expected) <= tolerance.abs + tolerance.rel * abs(expected)


def _shown(value: Any) -> str:
    try:
        return printable(json.dumps(value, default=str), 200)
    except (TypeError, ValueError):
        return printable(repr(value), 200)
