"""Record features: the columns that a DictVectorizer was fitted on, from the names it gave them."""

from __future__ import annotations

from typing import Any

from pushserve_runtime.signature import Accepts, DType, Feature
from pushserve_sandbox.inspection.column_knowledge import Known
from pushserve_sandbox.inspection.estimator_structure import first_estimators


def record_features(estimator: Any) -> tuple[tuple[Feature, ...], list[Known]]:
    """Give features and examples of their values; a row may leave any of them out.

    "town=Ulm" is a text of the column "town", "age" a number. Whoever has both is open.
    """
    texts: dict[str, list[str]] = {}
    numbers: set[str] = set()
    for first in first_estimators(estimator):
        separator = getattr(first, "separator", "=")
        for name in getattr(first, "feature_names_", ()):
            column, found, value = str(name).partition(separator)
            texts.setdefault(column, [])
            if found:
                texts[column].append(value)
            else:
                numbers.add(column)
    pairs = [_feature(name, values, name in numbers) for name, values in texts.items()]
    return tuple(feature for feature, _ in pairs), [known for _, known in pairs]


def _feature(name: str, values: list[str], is_number: bool) -> tuple[Feature, Known]:
    if values and is_number:
        return Feature(name, accepts=Accepts.ANYTHING, nullable=True), Known(sure=False)
    if is_number:
        return Feature(name, nullable=True), Known(numbers=True)
    known = Known(DType.STRING, tuple(values[:3]))
    return Feature(name, DType.STRING, nullable=True), known
