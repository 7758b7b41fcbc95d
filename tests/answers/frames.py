"""Frames: random columns of every kind that people have, with nulls of every kind, and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Random = np.random.Generator

WORDS = ("red", "green", "blue", "Ulm", "Köln", "São Paulo", "", " x ", "null", "nan", "1", "2.0")
SENTENCES = ("the cat sat", "a dog ran home", "Red Fish, blue fish!", "no", "", "été à Köln")
NAMES = ("a", "age", "fare", "zip code", "größe", "x0", "Name", "1st", "a.b", "target", "city")
_EXACT = 2**53


@dataclass(frozen=True)
class Column:
    """A column's name, kind (a key of `KINDS`) and values."""

    name: str
    kind: str
    values: pd.Series

    @property
    def has_gaps(self) -> bool:
        return bool(self.values.isna().any())


def floats(rng: Random, rows: int) -> pd.Series:
    scale = 10.0 ** rng.integers(-2, 5)
    values = rng.normal(size=rows) * scale
    if rng.random() < 0.2:
        values = np.round(values / scale, 1) * scale
    return pd.Series(values)


def small_floats(rng: Random, rows: int) -> pd.Series:
    return floats(rng, rows).astype(np.float32)


def integers(rng: Random, rows: int) -> pd.Series:
    kind = rng.choice(["int64", "int32", "uint8", "int16"], p=[0.7, 0.1, 0.1, 0.1])
    top = int(rng.choice([3, 10, 100]))
    return pd.Series(rng.integers(0 if kind == "uint8" else -top, top + 1, rows).astype(kind))


def codes(rng: Random, rows: int) -> pd.Series:
    return pd.Series(rng.integers(0, 4, rows))


def bools(rng: Random, rows: int) -> pd.Series:
    return pd.Series(rng.random(rows) < 0.5)


def nullable_integers(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, integers(rng, rows).astype("Int64"), pd.NA)


def nullable_bools(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, bools(rng, rows).astype("boolean"), pd.NA)


def large_ids(rng: Random, rows: int) -> pd.Series:
    return pd.Series(_EXACT + rng.integers(0, 6, rows))


def words(rng: Random, rows: int) -> pd.Series:
    chosen = rng.choice(WORDS, size=int(rng.integers(2, 7)), replace=False)
    return pd.Series(rng.choice(chosen, rows).tolist(), dtype=object)


def words_of_pandas(rng: Random, rows: int) -> pd.Series:
    """Texts in the type that pandas gives them today."""
    return words(rng, rows).astype("str")


def words_of_arrow(rng: Random, rows: int) -> pd.Series:
    """Texts in the type whose null is NA."""
    return with_gaps(rng, words(rng, rows).astype("string"), pd.NA)


def words_with_none(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, words(rng, rows), None)


def words_with_nan(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, words(rng, rows), np.nan)


def words_with_both(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, with_gaps(rng, words(rng, rows), np.nan), None)


def sentences(rng: Random, rows: int) -> pd.Series:
    made = [" ".join(rng.choice(SENTENCES, int(rng.integers(1, 4)))) for _ in range(rows)]
    return pd.Series(made, dtype=object)


def categories(rng: Random, rows: int) -> pd.Series:
    series = words(rng, rows) if rng.random() < 0.7 else codes(rng, rows)
    series = series.astype("category")
    return with_gaps(rng, series, np.nan) if rng.random() < 0.3 else series


def dates(rng: Random, rows: int) -> pd.Series:
    days = rng.integers(0, 900, rows)
    series = pd.Series(pd.Timestamp("2022-01-01") + pd.to_timedelta(days, "D"))
    return with_gaps(rng, series, pd.NaT) if rng.random() < 0.3 else series


def date_texts(rng: Random, rows: int) -> pd.Series:
    return dates(rng, rows).dropna().dt.strftime("%Y-%m-%d").reindex(range(rows)).ffill().bfill()


def bools_with_none(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, bools(rng, rows).astype(object), None)


def nothing(_rng: Random, rows: int) -> pd.Series:
    return pd.Series(np.full(rows, np.nan))


def floats_with_gaps(rng: Random, rows: int) -> pd.Series:
    return with_gaps(rng, floats(rng, rows), np.nan)


KINDS: dict[str, Callable[[Random, int], pd.Series]] = {
    made.__name__: made
    for made in (
        *(floats, small_floats, floats_with_gaps, integers, codes, bools, nullable_integers),
        *(nullable_bools, large_ids, words, words_of_pandas, words_of_arrow, words_with_none),
        *(words_with_nan, words_with_both, sentences, categories, dates, date_texts),
        *(bools_with_none, nothing),
    )
}
WEIGHTS = {"floats": 6, "floats_with_gaps": 4, "integers": 4, "words": 3, "words_of_pandas": 3}
NUMBERS = frozenset(
    {"floats", "small_floats", "floats_with_gaps", "integers", "codes", "bools"}
    | {"nullable_integers", "nullable_bools", "nothing"}
)
TEXTS = frozenset(
    {"words", "words_of_pandas", "words_of_arrow", "words_with_none", "words_with_nan"}
    | {"words_with_both", "categories", "bools_with_none", "date_texts"}
)
"""What encoders of categories are for."""


def with_gaps(rng: Random, series: pd.Series, null: Any) -> pd.Series:
    """Put a null of this kind into some places, and leave the others."""
    gaps = rng.random(len(series)) < rng.choice([0.05, 0.2])
    gaps[int(rng.integers(len(series)))] = True
    if series.dtype == object:
        return pd.Series(
            [null if gap else v for v, gap in zip(series, gaps, strict=True)], dtype=object
        )
    series = series.copy()
    series[gaps] = null
    return series


def random_columns(rng: Random, rows: int, most: int = 6, of: frozenset[str] | None = None):
    """Make one to `most` columns of random kinds, of `of` where that is given."""
    kinds = sorted(of or KINDS)
    weights = np.array([WEIGHTS.get(kind, 1) for kind in kinds], float)
    count = int(rng.integers(1, most + 1))
    names = rng.choice(NAMES, count, replace=False).tolist()
    chosen = rng.choice(kinds, count, p=weights / weights.sum()).tolist()
    return [
        Column(name, kind, KINDS[kind](rng, rows)) for name, kind in zip(names, chosen, strict=True)
    ]


def frame_of(columns: list[Column]) -> pd.DataFrame:
    return pd.DataFrame({column.name: column.values for column in columns})


def signal(columns: list[Column]) -> np.ndarray:
    """A number for each row that hangs on every column, so that there is something to learn."""
    total = np.zeros(len(columns[0].values))
    for number, column in enumerate(columns):
        code = pd.factorize(column.values)[0].astype(float)
        if column.kind in NUMBERS and column.values.notna().any():
            code = pd.to_numeric(column.values.astype(object), errors="coerce").astype(float)
            code = np.asarray(code.fillna(code.mean()), float)
        spread = code.std() or 1.0
        total += (code - code.mean()) / spread / (number + 1)
    return total


def random_labels(rng: Random, columns: list[Column], most: int = 3) -> np.ndarray:
    """Labels of two or three classes: whole numbers, texts, truth values, fractions."""
    total = signal(columns) + rng.normal(size=len(columns[0].values)) * 0.3
    count = int(rng.integers(2, most + 1))
    number = np.searchsorted(np.quantile(total, np.arange(1, count) / count), total)
    kind = rng.choice(["whole", "text", "bool", "negative", "object", "large"], p=_LABEL_SHARES)
    if kind == "bool" and count == 2:
        return number == 1
    if kind in ("text", "object"):
        names = np.array(["no", "yes", "größer"])
        return names[number].astype(object) if kind == "object" else names[number]
    if kind == "large":
        return number + _EXACT
    return number - 1 if kind == "negative" else number


_LABEL_SHARES = (0.4, 0.25, 0.1, 0.1, 0.1, 0.05)


def random_values(rng: Random, columns: list[Column]) -> np.ndarray:
    total = signal(columns) + rng.normal(size=len(columns[0].values)) * 0.1
    return total * 10.0 ** rng.integers(0, 4) + 1


def fresh_rows(rng: Random, frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Rows as they come in later: of those seen, values of each column mixed anew."""
    picked = {
        name: frame[name].iloc[rng.integers(0, len(frame), rows)].reset_index(drop=True)
        for name in frame.columns
    }
    return pd.DataFrame(picked)
