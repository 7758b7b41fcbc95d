"""Warm-up: runs a model once at its start, so that the first caller does not wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import Layout, Signature
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.probing import attempt, made_rows
from pushserve_sandbox.prediction.predictor import Predictor
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, records_array, row_values


def warm_up(predictor: Predictor, inputs: Sequence[Any]) -> None:
    """Predict one row: the first of the examples' inputs, else a made one.

    A made row may be one that the model refuses; that is no failure.
    """
    signature = predictor.signature
    arrays = sample(signature, inputs)
    if arrays is not None:
        attempt(lambda: predictor.predict(arrays, signature.default_outputs))


def sample(signature: Signature, inputs: Sequence[Any]) -> list[Array] | None:
    """Give one row for a signature; None where nothing is known of a predict.py's input."""
    if signature.layout is Layout.RECORDS:
        return [records_array(inputs[:1])] if inputs else None
    row = made_rows(signature.inputs, [Known()] * len(signature.inputs))[0]
    if inputs:
        with suppress(RowInvalid):  # the build has said so; the made row will do
            row = row_values(signature.inputs, inputs[0])
    return arrays_of(signature.layout, signature.inputs, [row])
