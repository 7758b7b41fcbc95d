"""Trial rows: where a graph would differ from its estimator, if it does anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Feature, Layout, Signature
from pushserve_sandbox.onnx_compiler.proof.column_samples import Evidence, collect
from pushserve_sandbox.onnx_compiler.proof.threshold_rows import known_rows, threshold_rows
from pushserve_sandbox.prediction.row_arrays import NUMPY, RowInvalid, row_values

SEED: Final = 20_240_601
EACH: Final = 256
"""Rows of each kind."""
SITES: Final = 200
"""Thresholds of trees that rows are made for."""
SPECIAL: Final = (0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, -1e-310, 1e-40, 1e8, -1e8, 16_777_217.0)
ODD_TEXTS: Final = ("", " ", "unseen", "Ünïcode ß İ", "a b", "nan", "None", "0", "1.0", "\u2003x\n")
_LIMIT: Final = 1e37
HUGE: Final = (1e38, -3.4e38, 1e39, -1e100, 1e155, -1e200, 1e300)
"""Finite numbers that float32, a square, or any product may not hold."""
EXTREMES: Final = 2 * len(HUGE)
"""The last rows: estimators refuse many of them."""
_WHOLE: Final = 2**53
"""From here on, a double does not hold every whole number."""

Matrix = NDArray[np.float64]


def trial_rows(estimator: Any, signature: Signature, examples: Sequence[Any]) -> list[Array]:
    """Make the rows, the examples' first, all others shuffled; the same ones every time."""
    features = signature.inputs
    random = np.random.default_rng(SEED)
    evidence = collect(estimator, len(features))
    given = _given(features, examples)
    for row in given:
        for item, value in zip(evidence, row, strict=True):
            if value is not None:
                item.add(np.array([value]))
    numbers = _numbers(estimator, features, evidence, random)
    numbers = numbers[random.permutation(len(numbers))]
    numbers = np.concatenate([numbers, _extremes(numbers, random)])
    is_matrix = signature.layout is Layout.MATRIX
    if is_matrix:
        features = tuple(item if item.categories else _as_float(item) for item in features)
    columns = [
        _column(feature, item, numbers[:, i], [r[i] for r in given], random, is_matrix=is_matrix)
        for i, (feature, item) in enumerate(zip(features, evidence, strict=True))
    ]
    if is_matrix:
        return [Array(DType.FLOAT64, np.column_stack([_as_floats(item) for item in columns]))]
    return columns


def _extremes(numbers: Matrix, random: np.random.Generator) -> Matrix:
    """Make rows with one huge number each, and rows of huge numbers."""
    some = np.clip(numbers[: len(HUGE)], -1e8, 1e8)
    changed = _one_changed(some, np.repeat(np.array(HUGE)[:, None], some.shape[1], 1), random)
    return np.concatenate([changed, np.repeat(np.array(HUGE)[:, None], some.shape[1], 1)])


def _as_float(feature: Feature) -> Feature:
    """Take whole numbers and truth values for any: nobody checks those of a tensor."""
    return replace(feature, dtype=DType.FLOAT64)


def take(arrays: Sequence[Array], rows: Any) -> list[Array]:
    """Give some rows, by a slice or an array of their numbers."""
    return [
        Array(item.dtype, item.values[rows], None if item.nulls is None else item.nulls[rows])
        for item in arrays
    ]


def _given(features: Sequence[Feature], examples: Sequence[Any]) -> list[list[Any]]:
    rows = []
    for example in examples:
        try:
            rows.append(row_values(features, example))
        except RowInvalid:
            continue  # the examples' own check says so
    return rows


def _numbers(
    estimator: Any,
    features: Sequence[Feature],
    evidence: Sequence[Evidence],
    random: np.random.Generator,
) -> Matrix:
    """Make the numbers of all rows [rows, features]; a text's column has any."""
    width = len(features)
    pools = [_pool(item) for item in evidence]
    low = np.array([min(pool) for pool in pools])
    high = np.array([max(pool) for pool in pools])
    spread = np.maximum(high - low, 1e-3 * np.abs(high) + 1e-9)
    shape = (EACH, width)
    near = low - 0.2 * spread + 1.4 * spread * random.random(shape)
    far = low - 3 * spread + 7 * spread * random.random(shape)
    picked = np.column_stack([random.choice(pool, EACH) for pool in pools])
    whole = np.floor(near + random.random(shape))
    blocks = [
        near,
        far,
        whole,
        random.integers(-20, 21, shape).astype(float),
        picked,
        _stepped(picked, random),
        random.normal(size=shape),
        random.normal(size=shape) * 10.0 ** random.integers(-300, 30, shape),
        near + 1e8,
        _one_changed(near, np.array(SPECIAL), random),
        _one_changed(near, near + 1e8, random),
        random.choice(SPECIAL, shape),
        random.choice((-1.0, 0.0, 1.0), shape),  # as in designed experiments
    ]
    blocks.append(near * 10.0 ** random.uniform(0, 4, (EACH, 1)))
    sites = threshold_rows(estimator, width, SITES, random)
    sites = np.concatenate([sites, known_rows(estimator, width, random)])
    base = near[random.integers(EACH, size=len(sites))]
    blocks.append(np.where(np.isfinite(sites), sites, base))
    rows: Matrix = np.clip(np.concatenate(blocks), -_LIMIT, _LIMIT)
    return rows


def _pool(evidence: Evidence) -> Matrix:
    pool: Matrix = np.unique(np.clip([*evidence.numbers, 0.0, 1.0], -_LIMIT, _LIMIT))
    return pool


def _stepped(rows: Matrix, random: np.random.Generator) -> Matrix:
    """Move every number by one float64 or one float32 to either side."""
    side = np.where(random.integers(2, size=rows.shape) == 1, np.inf, -np.inf)
    with np.errstate(over="ignore"):
        single = np.nextafter(rows.astype(np.float32), side.astype(np.float32)).astype(float)
    return np.where(random.integers(2, size=rows.shape) == 1, np.nextafter(rows, side), single)


def _one_changed(rows: Matrix, values: Matrix, random: np.random.Generator) -> Matrix:
    """Change one number of each row."""
    rows = rows.copy()
    index = np.arange(len(rows))
    column = random.integers(rows.shape[1], size=len(rows))
    rows[index, column] = (
        values[index, column] if values.ndim == 2 else random.choice(values, len(rows))
    )
    return rows


def _column(
    feature: Feature,
    evidence: Evidence,
    numbers: Matrix,
    given: Sequence[Any],
    random: np.random.Generator,
    *,
    is_matrix: bool,
) -> Array:
    """Bring a column into its feature's type, with the examples' values first."""
    count = len(given) + len(numbers)
    nulls = np.zeros(count, bool)
    nulls[: len(given)] = [value is None for value in given]
    if feature.nullable:
        nulls[len(given) :] = random.random(len(numbers)) < 0.05
    if feature.categories:
        made = _objects(
            [
                feature.categories[i]
                for i in random.integers(len(feature.categories), size=len(numbers))
            ]
        )
        if is_matrix:  # where nothing else looks at them
            made[-EXTREMES // 2 :] = numbers[-EXTREMES // 2 :]
    elif feature.dtype is DType.STRING:
        made = _texts(evidence, len(numbers), random)
    else:
        made = numbers
    known = evidence.texts if feature.dtype is DType.STRING else evidence.numbers
    if evidence.strict and known and not feature.categories:
        made = made.astype(object)  # the last rows keep what it may not know
        made[:-EXTREMES] = random.choice(_objects(known), len(numbers) - EXTREMES)
    filler: Any = "" if feature.dtype is DType.STRING else 0
    first = _objects([filler if value is None else value for value in given])
    values = np.concatenate([first, made.astype(object)])
    if feature.dtype is DType.INT64 and not feature.categories:
        _add_large(values, evidence, random)
    values[nulls] = filler
    return Array(feature.dtype, _typed(feature.dtype, values), nulls if nulls.any() else None)


def _add_large(values: NDArray[Any], evidence: Evidence, random: np.random.Generator) -> None:
    """Put large whole numbers, and those next to them, among the values of a column."""
    known = [*evidence.large, _WHOLE, -_WHOLE]
    near = [number + step for number in known for step in (-1, 0, 1)]
    near = [number for number in near if abs(number) < 2**63]
    first = len(values) - EXTREMES - EACH
    where = first + random.permutation(EACH)[: len(near)]
    values[where] = np.array(near, dtype=object)[: len(where)]


def _texts(evidence: Evidence, count: int, random: np.random.Generator) -> NDArray[Any]:
    """Choose texts that the estimator knows, variants of them, and others."""
    known = evidence.texts or ["text"]
    variants = [text.upper() for text in known[:20]] + [f"{text} " for text in known[:20]]
    texts = _objects([*known, *variants, *ODD_TEXTS])
    weights = np.array([4.0] * len(known) + [1.0] * (len(texts) - len(known)))
    return random.choice(texts, count, p=weights / weights.sum())


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _typed(dtype: DType, values: NDArray[Any]) -> NDArray[Any]:
    if dtype is DType.STRING:
        return values
    floats = values.astype(np.float64)
    if dtype is DType.BOOL:
        return np.asarray(floats > 0)
    if dtype in (DType.INT64, DType.INT32):
        limits = np.iinfo(NUMPY[dtype])
        floats = np.clip(np.rint(floats), limits.min // 2, limits.max // 2)
        result = floats.astype(NUMPY[dtype])
        for number, value in enumerate(values):
            if type(value) is int:  # exactly, however large
                result[number] = value
        return result
    return floats.astype(NUMPY[dtype])


def _as_floats(array: Array) -> Matrix:
    values = array.values.astype(np.float64)
    if array.nulls is not None:
        values[array.nulls] = np.nan
    return values
