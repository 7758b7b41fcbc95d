"""Copies of the texts of a request that are made on the way.

A tensor's size counts texts, not their letters, and one text may be as long as a request. So it
is followed how many copies a tensor may hold of a text of each input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np

from pushserve_sandbox.admission.not_admitted import NotAdmitted
from pushserve_sandbox.admission.step import Step
from pushserve_sandbox.admission.tensors import Tensor

Copies = Mapping[str, int]
"""By input, how many copies of one of its texts there are at most."""

NONE: Final[Copies] = {}
_KEEPS: Final = frozenset(
    {"Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
"""What gives each text that it takes once at most."""
_SPREADS: Final = frozenset({"Expand", "Tile", "Where"})
_CHOOSES: Final = frozenset({"ArrayFeatureExtractor", "Gather"})


def copies_in(step: Step, output: Tensor) -> Copies:
    """Give the copies in a node's output.

    Raises:
        NotAdmitted: they cannot be told.
    """
    found: Counter[str] = Counter()
    for item in step.inputs:
        if item is not None and item.texts:
            factor = _factor(step, item, output)
            found.update({name: count * factor for name, count in item.texts.items()})
    return found or NONE


def _factor(step: Step, item: Tensor, output: Tensor) -> int:
    if step.operator in _KEEPS:
        return 1
    if step.operator in _CHOOSES:
        chosen = step.input(1).fixed_values(f"{step.operator} of texts").reshape(-1)
        return int(np.unique(chosen, return_counts=True)[1].max(initial=1))
    points = range(len(item.shapes))
    factors = {-(-output.size(i) // item.size(i)) for i in points}
    if step.operator in _SPREADS and len(factors) == 1:
        return factors.pop()
    raise NotAdmitted(f"{step.operator} of texts")
