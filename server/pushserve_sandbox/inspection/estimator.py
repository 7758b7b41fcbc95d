"""Estimator's signature: from itself, the manifest, the examples, and trials."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pushserve_runtime.build_error import BuildFailed, brief
from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.output_arrays import NotAnOutput, dense, to_array
from pushserve_runtime.signature import Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.inspection.feature_types import decide_features, declared_outputs
from pushserve_sandbox.inspection.fitted_columns import know_columns, takes_categories, takes_texts
from pushserve_sandbox.inspection.probing import (
    Row,
    attempt,
    made_rows,
    plain_rows,
    probe_nullable,
    same,
    works,
)
from pushserve_sandbox.prediction.model_inputs import (
    InputFunction,
    frame_input,
    matrix_input,
    object_matrix_input,
    text_input,
)
from pushserve_sandbox.prediction.model_outputs import (
    default_outputs,
    output_functions,
    output_spec,
)
from pushserve_sandbox.prediction.predictor import EstimatorPredictor
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, row_values


def predictor_for(estimator: Any, signature: Signature) -> EstimatorPredictor:
    """Make the predictor of an estimator whose signature is known."""
    build = input_function(estimator, signature.layout, signature.inputs)
    return EstimatorPredictor(signature, build, output_functions(estimator))


def input_function(estimator: Any, layout: Layout, features: Sequence[Feature]) -> InputFunction:
    """Choose how a request's arrays become what the estimator takes."""
    if layout is Layout.MATRIX:
        return matrix_input
    if takes_texts(estimator):
        return text_input
    if _fitted_on_names(estimator):
        return frame_input(features, takes_categories(estimator))
    return object_matrix_input


def inspect_estimator(
    estimator: Any, declared: Declared, example_rows: Sequence[Any]
) -> EstimatorPredictor:
    """Find out what a fitted estimator takes and gives, and make its predictor.

    `example_rows` are inputs of the repository's examples, as they were written.

    Raises:
        BuildFailed: SIGNATURE_UNKNOWN, SIGNATURE_MISMATCH, or TRIAL_FAILED.
    """
    try:
        return _Inspection(estimator, declared, example_rows).run()
    except BuildFailed as failure:
        if failure.reason != "TRIAL_FAILED" or not example_rows:
            raise
        # Examples of wrong types mislead: without them, their own check can say so.
        with suppress(BuildFailed):
            return _Inspection(estimator, declared, []).run()
        raise


class _Inspection:
    """One estimator under inspection; each step adds what it found."""

    def __init__(self, estimator: Any, declared: Declared, example_rows: Sequence[Any]) -> None:
        self.estimator = estimator
        self.declared = declared
        self.functions = output_functions(estimator)
        self.main = next(iter(self.functions))
        names, self.named = _feature_names(estimator, declared)
        self.known = know_columns(estimator, len(names))
        self.features = decide_features(names, self.known, declared, example_rows)
        self.example_rows = example_rows
        self.layout = Layout.TABLE

    def run(self) -> EstimatorPredictor:
        rows = self._find_rows()
        self._find_nullable(rows[0])
        outputs = self._find_outputs(rows)
        signature = Signature(
            layout=self.layout,
            inputs=self.features,
            outputs=outputs,
            default_outputs=declared_outputs(self.declared, outputs)
            or default_outputs([spec.name for spec in outputs]),
            named=self.named,
        )
        return predictor_for(self.estimator, signature)

    def _call(self, layout: Layout, rows: list[Row], name: str) -> Any:
        build = input_function(self.estimator, layout, self.features)
        data = build(arrays_of(layout, self.features, rows))
        return dense(self.functions[name](data), len(rows))

    def _output(self, rows: list[Row], name: str) -> Array:
        return to_array(self._call(self.layout, rows, name))

    def _find_rows(self) -> list[Row]:
        """Find rows that the estimator takes, and with them the layout."""
        error: BaseException | None = None
        for rows in self._candidates():
            result = self._try_layouts(rows)
            if not isinstance(result, BaseException):
                return rows
            error = error or result
        raise BuildFailed(
            "TRIAL_FAILED",
            f"the model raised on a trial row: {brief(error) if error else 'no row was found'}",
            "declare the inputs' dtypes in pushserve.toml ([signature] inputs), "
            "and commit examples.json with a row that the model takes",
        ) from error

    def _candidates(self) -> list[list[Row]]:
        given = []
        for row in self.example_rows[:3]:
            try:
                values = row_values(self.features, row)
            except RowInvalid:
                continue  # the examples' own check says so
            if None not in values:
                given.append(values)
        made = [made_rows(self.features, self.known), plain_rows(self.features, self.known)]
        return [given, *made] if given else made

    def _try_layouts(self, rows: list[Row]) -> BaseException | None:
        matrix: Any = NotAnOutput("texts")
        numeric = all(feature.dtype.is_number for feature in self.features)
        if numeric and not takes_categories(self.estimator):
            matrix = attempt(lambda: self._call(Layout.MATRIX, rows, self.main))
            if not _fitted_on_names(self.estimator) and not isinstance(matrix, BaseException):
                self.layout = Layout.MATRIX
                return None
        table = attempt(lambda: self._call(Layout.TABLE, rows, self.main))
        if isinstance(table, BaseException):
            if isinstance(matrix, BaseException):
                return table
            self.layout = Layout.MATRIX
        elif not isinstance(matrix, BaseException) and same(matrix, table):
            self.layout = Layout.MATRIX
        else:
            self.layout = Layout.TABLE
        return None

    def _find_nullable(self, row: Row) -> None:
        def accepts(changed: Row) -> bool:
            return works(lambda: self._call(self.layout, [changed], self.main))

        found = probe_nullable(self.features, self.known, row, accepts)
        wanted = {feature.name: feature.nullable for feature in self.declared.inputs}
        for feature, nullable in zip(self.features, found, strict=True):
            if wanted.get(feature.name) and not nullable:
                raise BuildFailed(
                    "SIGNATURE_MISMATCH",
                    f"[signature] says that {feature.name!r} is nullable, "
                    "but the model raises on a null there",
                    f"remove nullable from {feature.name!r}, or impute missing values in the model",
                )
        self.features = tuple(
            replace(f, nullable=nullable and wanted.get(f.name) is not False)
            for f, nullable in zip(self.features, found, strict=True)
        )

    def _find_outputs(self, rows: list[Row]) -> tuple[OutputSpec, ...]:
        found = []
        for name in self.functions:
            result = attempt(partial(self._output, rows, name))
            if not isinstance(result, BaseException):
                found.append(output_spec(name, result, self.estimator))
            elif name == self.main:
                raise BuildFailed(
                    "TRIAL_FAILED",
                    f"the model's {name} cannot be served: {brief(result)}",
                    "save a model that gives one row of numbers or texts for each row it is given",
                ) from result
        return tuple(found)


def _fitted_on_names(estimator: Any) -> bool:
    return getattr(estimator, "feature_names_in_", None) is not None


def _feature_names(estimator: Any, declared: Declared) -> tuple[list[str], bool]:
    """Name the estimator's features, and say whether these are more than x0, x1, …."""
    if takes_texts(estimator):
        return [declared.inputs[0].name if len(declared.inputs) == 1 else "text"], True
    if _fitted_on_names(estimator):
        return [str(name) for name in estimator.feature_names_in_], True
    count = getattr(estimator, "n_features_in_", None) or len(declared.inputs)
    if not count:
        raise BuildFailed(
            "SIGNATURE_UNKNOWN",
            "the model does not say how many features it takes",
            "declare them in pushserve.toml: [signature] inputs = [{name = …, dtype = …}, …]",
        )
    if len(declared.inputs) == count:
        return [feature.name for feature in declared.inputs], True
    return [f"x{i}" for i in range(int(count))], False
