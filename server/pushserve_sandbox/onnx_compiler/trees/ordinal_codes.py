"""Ordinal codes: the numbers that an encoder gives to categories, as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def ordinal_tables(model: Any) -> list[Table]:
    """Give an OrdinalEncoder's codes [categories + 1, 1] of each column, the unknown one's last."""
    missing = model._missing_indices  # noqa: SLF001 (there is no other way to it)
    tables = []
    for column, values in enumerate(model.categories_):
        codes = grouped_codes(model, column, len(values)).astype(np.float64)
        if column in missing:
            codes[missing[column]] = model.encoded_missing_value
        known = model.handle_unknown == "use_encoded_value"
        unknown = float(model.unknown_value) if known else -1.0
        tables.append(np.append(codes, unknown).reshape(-1, 1))
    return tables


def grouped_codes(model: Any, column: int, count: int) -> NDArray[np.int64]:
    """Number categories, where infrequent ones have one number together."""
    plain = np.arange(count)
    if not getattr(model, "_infrequent_enabled", False):
        return plain
    mapping = model._default_to_infrequent_mappings[column]  # noqa: SLF001 (as above)
    if mapping is None:
        return plain
    mapping = np.asarray(mapping, np.int64)
    # A missing value's category is counted apart, and comes last.
    return np.append(mapping, plain[len(mapping) :])
