"""Selection: chooses an estimator's fast path, and gives the predictor that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_sandbox.fast_paths.equality_test import SMALL, Trial
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.probing import attempt, made_rows
from pushserve_sandbox.prediction.fast_path import FastPath
from pushserve_sandbox.prediction.predictor import EstimatorPredictor
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, row_values

_SEED: Final = 20_240_601


def with_first_equal(
    estimator: Any, predictor: EstimatorPredictor, inputs: Sequence[Any]
) -> tuple[EstimatorPredictor, str, int]:
    """Try every fast path on many rows; give the predictor, which that is, and on how many rows.

    `inputs` are those of the repository's examples. Where no fast path passes, the predictor is
    given back as it is, with "".
    """
    from pushserve_sandbox.onnx_compiler.proof.trial_rows import trial_rows  # noqa: PLC0415 (builds alone need it)

    if any(feature.as_dates for feature in predictor.signature.inputs):
        return predictor, "", 0  # its rows are no dates

    rows = attempt(lambda: trial_rows(estimator, predictor.signature, inputs))
    if isinstance(rows, BaseException):
        rows = few_rows(predictor.signature, inputs)
    return _first_passed(estimator, predictor, rows, None)


def with_chosen(
    estimator: Any, predictor: EstimatorPredictor, inputs: Sequence[Any], how: str
) -> EstimatorPredictor:
    """Take the fast path that a build has chosen, if it passes on a few rows here too."""
    if not how:
        return predictor
    rows = few_rows(predictor.signature, inputs)
    return _first_passed(estimator, predictor, rows, how)[0]


def _first_passed(
    estimator: Any, predictor: EstimatorPredictor, rows: Sequence[Array], how: str | None
) -> tuple[EstimatorPredictor, str, int]:
    trial = Trial(predictor.build_input, predictor.functions, rows)
    fast_paths = _fast_paths(estimator)
    own_code = [fast_path for fast_path in fast_paths if fast_path.is_own_code][:1]
    if how is None and own_code and trial.passed(own_code[0]):
        trial.share(own_code[0])
    for fast_path in fast_paths:
        if how in (None, fast_path.how) and (count := trial.passed(fast_path)):
            return predictor.with_fast_path(fast_path), fast_path.how, count
    return predictor, "", 0


def _fast_paths(estimator: Any) -> list[FastPath]:
    try:
        # It uses names that scikit-learn does not promise to keep.
        from pushserve_sandbox.fast_paths.pipelines import fast_paths_of  # noqa: PLC0415
    except ImportError:
        return []
    found = attempt(lambda: list(fast_paths_of(estimator)))
    return [] if isinstance(found, BaseException) else found


def few_rows(signature: Signature, inputs: Sequence[Any]) -> list[Array]:
    """Make rows from the examples' inputs, or from nothing; numbers are moved about a little."""
    given = []
    for item in inputs[:SMALL]:
        try:
            given.append(row_values(signature.inputs, item))
        except RowInvalid:
            continue  # the examples' own check says so
    given = given or made_rows(signature.inputs, [Known()] * len(signature.inputs))
    arrays = arrays_of(signature.layout, signature.inputs, given)
    if signature.layout is not Layout.MATRIX:
        return arrays
    base = np.resize(arrays[0].values, (SMALL, len(signature.inputs)))
    factors: Any = np.random.default_rng(_SEED).uniform(0.5, 1.5, base.shape)
    factors[: len(given)] = 1.0
    return [Array(DType.FLOAT64, base * factors)]
