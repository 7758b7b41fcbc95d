"""Fast path: a shorter way to an estimator's outputs than its own methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

ONE_PASS: Final = "one pass for all outputs"  # noqa: S105 — no password
TREE_BY_TREE: Final = "tree by tree"

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FastPath:
    """One way to an estimator's outputs.

    `start` takes what the estimator takes and gives what all `outputs` are made of, or None
    for rows that are left to the estimator itself (mostly because it refuses them).
    `outputs` do not change what `start` gave. `how` says it in a few words. `by_row` tells that
    a row's answer does not depend on the rows beside it, as it may where BLAS multiplies.
    `is_own_code` tells that it is the estimator's own code, called once where it calls it for
    each output: few rows show whether that is so.
    """

    how: str
    start: Callable[[Any], Any]
    outputs: Mapping[str, Callable[[Any], Any]]
    by_row: bool = False
    is_own_code: bool = False


def is_matrix(data: Any, columns: int) -> TypeGuard[Matrix]:
    """Whether `data` is a float64 array of shape [rows, columns] and no subclass of one."""
    return (
        type(data) is np.ndarray
        and data.dtype == np.float64
        and data.ndim == 2
        and data.shape[1] == columns
    )


def is_own(estimator: Any, method: str, *owners: type) -> bool:
    """Whether the estimator's method is one of `owners`', and no override of it."""
    found = getattr(type(estimator), method, None)
    return found is not None and any(found is getattr(owner, method, None) for owner in owners)
