"""Feature types: decided from what the manifest declares, the estimator knows and examples show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pushserve_runtime.build_error import BuildFailed, listed
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType, Feature, OutputSpec
from pushserve_sandbox.inspection.fitted_columns import Known, dtype_of


def decide_features(
    names: Sequence[str], known: Sequence[Known], declared: Declared, example_rows: Sequence[Any]
) -> tuple[Feature, ...]:
    """Give each feature its dtype: the declared one, else the encoders', else the examples'.

    Raises:
        BuildFailed: SIGNATURE_MISMATCH, the manifest names a feature that there is not, or
            a dtype that the estimator's encoders contradict.
    """
    check_names([feature.name for feature in declared.inputs], names)
    wanted = {feature.name: feature.dtype for feature in declared.inputs}
    return tuple(
        Feature(
            name,
            _checked_dtype(name, wanted.get(name), item)
            or item.dtype
            or _dtype_in(example_rows, index, name)
            or DType.FLOAT64,
            categories=item.categories,
        )
        for index, (name, item) in enumerate(zip(names, known, strict=True))
    )


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
    if wanted is None or known.dtype is None:
        return wanted
    if wanted.is_number != known.dtype.is_number:
        raise BuildFailed(
            "SIGNATURE_MISMATCH",
            f"[signature] declares {name!r} as {wanted}, but the model was fitted on "
            f"{known.dtype} values there",
            f"declare {name!r} as {known.dtype}, or leave its dtype out",
        )
    return wanted


def _dtype_in(rows: Sequence[Any], index: int, name: str) -> DType | None:
    """The dtype of one feature in the examples. Whole numbers may be floats: say float64."""
    values = []
    for row in rows:
        if isinstance(row, Mapping):
            values.append(row.get(name))
        elif isinstance(row, list) and index < len(row):
            values.append(row[index])
    dtype = dtype_of([value for value in values if value is not None])
    return DType.FLOAT64 if dtype is DType.INT64 else dtype


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
