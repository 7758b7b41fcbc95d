"""Feature types: decided from what the manifest declares, the estimator knows and examples show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pushserve_runtime.build_error import BuildFailed, listed
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import Accepts, DType, Feature, OutputSpec
from pushserve_sandbox.inspection.column_knowledge import Known, dtype_of


def decide_features(
    names: Sequence[str], known: Sequence[Known], declared: Declared, example_rows: Sequence[Any]
) -> tuple[Feature, ...]:
    """Give each feature its dtype: the declared one, else the encoders', else the examples'.

    Where none of these tells, and code that is no library's sees the column, its type is open:
    what is sent reaches the model as it is.

    Raises:
        BuildFailed: SIGNATURE_MISMATCH, the manifest names a feature that there is not, or
            a dtype that the estimator's encoders contradict.
    """
    check_names([feature.name for feature in declared.inputs], names)
    wanted = {feature.name: feature.dtype for feature in declared.inputs}
    return tuple(
        _decided(name, item, wanted.get(name), _values_in(example_rows, index, name))
        for index, (name, item) in enumerate(zip(names, known, strict=True))
    )


def _decided(name: str, known: Known, wanted: DType | None, shown: Sequence[Any]) -> Feature:
    feature = Feature(name, null_is_none=known.none, as_dates=known.dates and known.sure)
    if not known.used:
        return replace(feature, dtype=wanted or DType.FLOAT64, accepts=Accepts.UNUSED)
    declared = _checked_dtype(name, wanted, known)
    dtype = declared or (known.dtype if known.sure else None) or _dtype_of_examples(shown, known)
    categories = known.categories if known.sure else ()
    if dtype is not None or not known.is_open:
        return replace(feature, dtype=dtype or DType.FLOAT64, categories=categories)
    guess = known.dtype or dtype_of(shown) or DType.FLOAT64
    return replace(feature, dtype=guess, accepts=Accepts.ANYTHING)


def check_names(declared: Sequence[str], names: Sequence[str]) -> None:
    """Check that every declared name is one of the estimator's.

    Raises:
        BuildFailed: SIGNATURE_MISMATCH.
    """
    for name in declared:
        if name not in names:
            raise BuildFailed(
                "SIGNATURE_MISMATCH",
                f"[signature] declares the input {name!r}, which the model does not have; "
                f"it has {len(names)}: {listed(list(names))}",
                "declare the model's own features, or all of them in order where it has no names",
            )


def _checked_dtype(name: str, wanted: DType | None, known: Known) -> DType | None:
    if wanted is None or known.dtype is None or not known.sure:
        return wanted
    if wanted.is_number != known.dtype.is_number:
        raise BuildFailed(
            "SIGNATURE_MISMATCH",
            f"[signature] declares {name!r} as {wanted}, but the model was fitted on "
            f"{known.dtype} values there",
            f"declare {name!r} as {known.dtype}, or leave its dtype out",
        )
    return wanted


def _values_in(rows: Sequence[Any], index: int, name: str) -> list[Any]:
    """One feature's values in the examples, without nulls."""
    values = []
    for row in rows:
        if isinstance(row, Mapping):
            values.append(row.get(name))
        elif isinstance(row, list) and index < len(row):
            values.append(row[index])
    return [value for value in values if value is not None]


def _dtype_of_examples(values: Sequence[Any], known: Known) -> DType | None:
    """The dtype that examples tell. Whole numbers tell none: others may be floats."""
    dtype = dtype_of(values)
    if dtype is DType.INT64:
        return None if known.is_open else DType.FLOAT64
    return dtype


def declared_outputs(declared: Declared, outputs: Sequence[OutputSpec]) -> tuple[str, ...]:
    """Give the declared outputs, which become the default ones.

    Raises:
        BuildFailed: SIGNATURE_MISMATCH, the model cannot give one of them.
    """
    names = [spec.name for spec in outputs]
    for name in declared.outputs:
        if name not in names:
            raise BuildFailed(
                "SIGNATURE_MISMATCH",
                f"[signature] declares the output {name!r}, which the model does not give",
                "declare outputs of: " + listed(names),
            )
    return declared.outputs
