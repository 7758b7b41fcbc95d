"""Estimator's signature: from itself, the manifest, the examples, and trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed, brief
from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.output_arrays import NotAnOutput, dense, to_array
from pushserve_runtime.signature import (
    Accepts,
    DType,
    Feature,
    InputForm,
    Layout,
    OutputSpec,
    Signature,
)
from pushserve_sandbox.inspection.counted_columns import counts_to_try
from pushserve_sandbox.inspection.estimator_structure import takes_dicts, takes_texts, texts_follow
from pushserve_sandbox.inspection.feature_names import (
    Names,
    NamesUnknown,
    feature_names,
    known_features,
    names_unknown,
    numbered,
)
from pushserve_sandbox.inspection.feature_types import decide_features, declared_outputs
from pushserve_sandbox.inspection.fitted_columns import takes_categories
from pushserve_sandbox.inspection.input_forms import (
    Handed,
    handed_frames,
    input_function,
    is_fitted_on_array,
    is_fitted_on_names,
    is_own_code_first,
    matrix_form,
    table_forms,
)
from pushserve_sandbox.inspection.open_trials import seen_columns, settle_types
from pushserve_sandbox.inspection.own_code import on_own_values
from pushserve_sandbox.inspection.probing import (
    SINGLE_PROBES,
    Row,
    as_datetimes,
    attempt,
    made_rows,
    open_rows,
    plain_rows,
    probe_nullable,
    same,
    says_of_names,
    works,
)
from pushserve_sandbox.inspection.record_features import record_features
from pushserve_sandbox.prediction.model_outputs import (
    default_outputs,
    output_functions,
    output_spec,
)
from pushserve_sandbox.prediction.predictor import EstimatorPredictor
from pushserve_sandbox.prediction.row_arrays import RowInvalid, arrays_of, row_values

_COMPARED: Final = ("label", "value", "transform", "probabilities", "decision_function")


def predictor_for(estimator: Any, signature: Signature) -> EstimatorPredictor:
    """Make the predictor of an estimator whose signature is known."""
    build = input_function(estimator, signature.layout, signature.inputs, signature.form)
    functions = on_own_values(output_functions(estimator), estimator)
    return EstimatorPredictor(signature, build, functions)


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
    except NamesUnknown:
        for count in counts_to_try(estimator):
            counted = _Inspection(estimator, declared, example_rows, numbered(count))
            if counted.takes_no_other_count():
                return counted.run()
        raise
    except BuildFailed as failure:
        if failure.reason != "TRIAL_FAILED" or not example_rows:
            raise
        # Examples of wrong types mislead: without them, their own check can say so.
        with suppress(BuildFailed):
            return _Inspection(estimator, declared, []).run()
        raise


class _Inspection:
    """One estimator under inspection; each step adds what it found."""

    def __init__(
        self,
        estimator: Any,
        declared: Declared,
        example_rows: Sequence[Any],
        names: Names | None = None,
    ) -> None:
        self.estimator = estimator
        self.declared = declared
        self.functions = output_functions(estimator)
        self.main = next(iter(self.functions))
        self.example_rows = example_rows
        self.names = names or feature_names(estimator, declared, example_rows)
        if takes_dicts(estimator):
            features, self.known = record_features(estimator)
        else:
            self.known = known_features(estimator, self.names.names)
            features = decide_features(self.names.names, self.known, declared, example_rows)
        self.handed = next(table_forms(estimator, features, named=self.names.real))

    @property
    def features(self) -> tuple[Feature, ...]:
        return self.handed.features

    def run(self) -> EstimatorPredictor:
        rows = self._find_rows()
        if self.names.guessed:
            rows = self._without_unneeded(rows)
        self.handed = seen_columns(self.handed, rows, self._differ)
        self.handed = settle_types(self.handed, rows, self._takes, self._differ)
        self._find_nullable(rows)
        outputs = self._find_outputs(rows)
        signature = Signature(
            layout=self.handed.layout,
            inputs=self.features,
            outputs=outputs,
            default_outputs=declared_outputs(self.declared, outputs) or default_outputs(outputs),
            named=self.names.real,
            form=self.handed.form,
        )
        return predictor_for(self.estimator, signature)

    def takes_no_other_count(self) -> bool:
        """Whether it takes just so many columns of an array, tried with one more and one less."""
        rows = attempt(self._find_rows)
        if isinstance(rows, BaseException) or self.handed.form is InputForm.FRAME:
            return False
        others = [range(len(self.features) - 1), [*range(len(self.features)), -1]]
        return not any(
            self._takes(replace(self.handed, features=features), some)
            for columns in others
            if columns
            and (features := tuple(self.features[i] for i in columns))
            and (some := [[row[i] for i in columns] for row in rows])
        )

    def _call(self, handed: Handed, rows: list[Row], name: str) -> Any:
        build = input_function(self.estimator, handed.layout, handed.features, handed.form)
        data = build(arrays_of(handed.layout, handed.features, rows))
        return dense(self.functions[name](data), len(rows))

    def _takes(self, handed: Handed, rows: list[Row]) -> bool:
        return works(partial(self._call, handed, rows, self.main))

    def _differ(self, handed: Handed, rows: list[Row], others: list[Row]) -> bool:
        first = attempt(partial(self._answers, handed, rows))
        second = attempt(partial(self._answers, handed, others))
        raised = [isinstance(answer, BaseException) for answer in (first, second)]
        return any(raised) or not _all_same(first, second)

    def _output(self, rows: list[Row], name: str) -> Array:
        return to_array(self._call(self.handed, rows, name))

    def _find_rows(self) -> list[Row]:
        """Find rows that the estimator takes, and with them what it is handed."""
        error: BaseException | None = None
        for features, rows in self._candidates():
            result = self._try_forms(features, rows)
            if not isinstance(result, BaseException):
                return rows
            error = error or result
        if self.names.guessed:
            raise names_unknown() from error
        raise BuildFailed(
            "TRIAL_FAILED",
            f"the model raised on a trial row: {brief(error) if error else 'no row was found'}",
            "commit examples.json with a row that the model takes, or declare the inputs' dtypes "
            "in pushserve.toml ([signature] inputs) where numbers and texts are confused",
        ) from error

    def _without_unneeded(self, rows: list[Row]) -> list[Row]:
        """Drop columns without which it works, as its own code makes them.

        Those that nothing uses came with the rows that it was fitted on, and come again.
        """
        index = 0
        while index < len(self.features) and len(self.features) > 1:
            features = (*self.features[:index], *self.features[index + 1 :])
            handed = replace(self.handed, features=features)
            fewer = [[*row[:index], *row[index + 1 :]] for row in rows]
            if not self._takes(handed, fewer):
                index += 1
            elif self.features[index].name in self.names.unused:
                self._set_feature(index, accepts=Accepts.UNUSED)
                index += 1
            else:
                self.handed, rows = handed, fewer
                del self.known[index]
        return rows

    def _set_feature(self, index: int, **changes: Any) -> None:
        features = list(self.features)
        features[index] = replace(features[index], **changes)
        self._set_features(iter(features))

    def _candidates(self) -> Iterator[tuple[tuple[Feature, ...], list[Row]]]:
        features = self.features
        given = []
        for row in self.example_rows[:3]:
            try:
                values = row_values(features, row)
            except RowInvalid:
                continue  # the examples' own check says so
            if None not in values:
                given.append(values)
        for chosen in (features, self._with_dates(features)):
            if given:
                yield chosen, given
            yield chosen, made_rows(chosen, self.known)
        yield features, plain_rows(features, self.known)
        yield from open_rows(features, self.known)

    def _with_dates(self, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        """Hand datetimes to what stands behind people's own code and was fitted on them."""
        return tuple(
            as_datetimes(feature) if known.dates else feature
            for feature, known in zip(features, self.known, strict=True)
        )

    def _try_forms(self, features: tuple[Feature, ...], rows: list[Row]) -> BaseException | None:
        """Find what to hand to the estimator, for these rows; give what the likeliest raised."""
        forms = list(self._forms(features))
        error: BaseException | None = None
        for number, handed in enumerate(forms):
            result = attempt(partial(self._answers, handed, rows))
            if isinstance(result, BaseException):
                error = error or result
                continue
            self._check_unambiguous(result, forms[number + 1 :], rows)
            self.handed = handed
            return None
        return error or NotAnOutput("texts")

    def _forms(self, features: tuple[Feature, ...]) -> Iterator[Handed]:
        tables = list(table_forms(self.estimator, features, named=self.names.real))
        matrix = None if takes_categories(self.estimator) else matrix_form(features)
        if matrix is None or takes_dicts(self.estimator):
            yield from tables
        elif is_fitted_on_names(self.estimator):
            open_types = any(feature.is_open for feature in features)
            if not open_types and self._is_same(matrix, tables[0], features):
                yield matrix
            yield from tables
            if not open_types:
                yield matrix  # an estimator whose methods take no frame
        elif handed_frames(self.estimator) and not is_fitted_on_array(self.estimator):
            yield from (*tables, matrix)
        elif matrix.features != features and self._takes_text(tables[0], features):
            yield from tables
        else:
            yield from (matrix, *tables)

    def _takes_text(self, handed: Handed, features: tuple[Feature, ...]) -> bool:
        """Whether a text is taken in some open column, and a matrix of numbers too narrow."""
        row = made_rows(features, self.known)[0]
        columns = [i for i, feature in enumerate(features) if feature.is_open][:SINGLE_PROBES]
        changed = [
            [("text" if i == column else v) for i, v in enumerate(row)] for column in columns
        ]
        return any(self._takes(handed, [text]) for text in changed)

    def _is_same(self, matrix: Handed, table: Handed, features: tuple[Feature, ...]) -> bool:
        """Whether a matrix gives what a frame gives, on rows whose values all differ."""
        for rows in (made_rows(features, self.known), plain_rows(features, self.known)):
            by_matrix = attempt(partial(self._answers, matrix, rows))
            by_table = attempt(partial(self._answers, table, rows))
            if not isinstance(by_matrix, BaseException) and not isinstance(by_table, BaseException):
                return _all_same(by_matrix, by_table)
        return False

    def _answers(self, handed: Handed, rows: list[Row]) -> Mapping[str, Any]:
        """Give the main output, and the others that tell models apart, where they can be had."""
        found = {self.main: self._call(handed, rows, self.main)}
        for name in _COMPARED:
            if name in self.functions and name != self.main:
                result = attempt(partial(self._call, handed, rows, name))
                if not isinstance(result, BaseException):
                    found[name] = result
        return found

    def _check_unambiguous(
        self, found: Mapping[str, Any], others: Sequence[Handed], rows: list[Row]
    ) -> None:
        """Refuse an estimator of people's own that answers otherwise to a frame than to an array.

        Raises:
            BuildFailed: SIGNATURE_UNKNOWN.
        """
        first = self.estimator
        known = is_fitted_on_names(first) or is_fitted_on_array(first) or handed_frames(first)
        if known or takes_texts(first) or texts_follow(first):
            return
        for handed in others:
            if handed.form not in (InputForm.OBJECTS, InputForm.FRAME):
                continue
            result = attempt(partial(self._answers, handed, rows))
            if isinstance(result, BaseException) or _all_same(found, result):
                continue
            if not says_of_names(partial(self._answers, handed, rows)):
                raise BuildFailed(
                    "SIGNATURE_UNKNOWN",
                    "the model answers otherwise to a DataFrame than to an array, and does not "
                    "say which of the two it was fitted on",
                    "have its first step's fit set self.feature_names_in_ (fitted on a DataFrame) "
                    "or self.n_features_in_ (on an array), as scikit-learn's own do",
                )

    def _find_nullable(self, rows: list[Row]) -> None:
        row, is_own = rows[0], is_own_code_first(self.features)

        def accepts(changed: Row) -> bool:
            # Code of people's own may fill a null by what stands in the rows beside it.
            tried = ([changed], [changed, *rows]) if is_own else ([changed],)
            return any(self._takes(self.handed, some) for some in tried)

        found = probe_nullable(self.features, self.known, row, accepts)
        if self.handed.layout is Layout.TABLE:
            found = self._try_none(row, found)
        wanted = {feature.name: feature.nullable for feature in self.declared.inputs}
        for feature, nullable in zip(self.features, found, strict=True):
            if wanted.get(feature.name) and not nullable:
                raise BuildFailed(
                    "SIGNATURE_MISMATCH",
                    f"[signature] says that {feature.name!r} is nullable, "
                    "but the model raises on a null there",
                    f"remove nullable from {feature.name!r}, or impute missing values in the model",
                )
        self._set_features(
            replace(f, nullable=nullable and wanted.get(f.name) is not False)
            for f, nullable in zip(self.features, found, strict=True)
        )

    def _set_features(self, features: Iterator[Feature]) -> None:
        self.handed = replace(self.handed, features=tuple(features))

    def _try_none(self, row: Row, found: list[bool]) -> list[bool]:
        """Try None where NaN is refused, for texts and truth values (numbers have no None)."""
        result = list(found)
        for index, (feature, nullable) in enumerate(zip(self.features, found, strict=True)):
            plain = feature.dtype in (DType.STRING, DType.BOOL) or feature.is_open
            if nullable or feature.null_is_none or not plain:
                continue
            features = list(self.features)
            # Of an open column only texts and truth values can be None.
            dtype = DType.STRING if feature.is_open else feature.dtype
            features[index] = replace(feature, null_is_none=True, dtype=dtype)
            handed = replace(self.handed, features=tuple(features))
            changed = [None if i == index else value for i, value in enumerate(row)]
            if self._takes(handed, [changed]):
                self._set_feature(index, null_is_none=True)
                result[index] = True
        return result

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


def _all_same(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return first.keys() == other.keys() and all(same(first[name], other[name]) for name in first)
