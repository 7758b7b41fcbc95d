"""Growth: from what a graph takes at some points to what it takes at any.

Every length is a sum of products of rows, terms and kinds with coefficients that are not
negative: `traversal` and `operators` let nothing else through. So a size that grows by the same
step twice, for each of the three, has none of them twice in any product, and the corners of one
cube give all of its coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

from pushserve_runtime.graph_bounds import Growth
from pushserve_sandbox.admission.tensors import Point

_LETTERS: Final = "rtk"
_BASE: Final = Point(2, 7, 11)
_ROWS: Final = (Point(2, 7, 11), Point(3, 7, 11), Point(4, 7, 11))


def points(*, texts: bool) -> tuple[Point, ...]:
    """Give the points to look at: one line, or with terms of texts a cube and three more."""
    if not texts:
        return _ROWS
    corners = [Point(*(b + s for b, s in zip(_BASE, step, strict=True))) for step in _steps(3)]
    further = [_BASE._replace(**{name: getattr(_BASE, name) + 2}) for name in Point._fields]
    return (*corners, *further)


def is_straight(sizes: Sequence[int]) -> bool:
    """Say whether sizes at `points` grow by the same step twice for rows, terms and kinds."""
    if len(sizes) == len(_ROWS):
        lines = [tuple(sizes)]
    else:
        at, further = _by_step(sizes, 3), sizes[2**3 :]
        lines = [(at[0, 0, 0], at[_unit(i)], further[i]) for i in range(3)]
    return all(third - second == second - first >= 0 for first, second, third in lines)


def growth_of(sizes: Sequence[int]) -> Growth:
    """Give the growth through sizes at `points`, each of which is a sum of straight ones."""
    count = 1 if len(sizes) == len(_ROWS) else 3
    at = _by_step(sizes, count)
    coefficients = {}
    for chosen in _steps(count):
        total = 0
        for step in _steps(count):
            # Lagrange: for each letter the product is through 0 at the one corner, 1 at the other.
            weight = 1
            for base, letter, corner in zip(_BASE, chosen, step, strict=False):
                weight *= (1 if corner else -1) if letter else (-base if corner else base + 1)
            total += weight * at[step]
        name = "".join(letter for letter, one in zip(_LETTERS, chosen, strict=False) if one)
        if total:
            coefficients[name] = float(total)
    return Growth(coefficients)


def _steps(count: int) -> list[tuple[int, ...]]:
    return list(product((0, 1), repeat=count))


def _unit(axis: int) -> tuple[int, ...]:
    return tuple(int(i == axis) for i in range(3))


def _by_step(sizes: Sequence[int], count: int) -> dict[tuple[int, ...], int]:
    return dict(zip(_steps(count), sizes, strict=False))
