"""Judging: a door's answer beside the estimator's own, and beside what the docs say of nulls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.answers.doors_asked import Outputs, Pushed, Refused
from tests.answers.models import Case

METHODS = {
    "label": "predict",
    "value": "predict",
    "probabilities": "predict_proba",
    "log_probabilities": "predict_log_proba",
    "decision_function": "decision_function",
    "score_samples": "score_samples",
    "transform": "transform",
    "apply": "apply",
}
WRONG, UNJUST, REFUSED, RIGHT, DOCUMENTED = "wrong", "unjust", "refused", "right", "documented"


Own = Outputs | Exception
"""What an estimator itself answers, or raises."""


@dataclass(frozen=True)
class Ask:
    door: str
    verdict: str
    detail: str = ""


class Judge:
    """Compares doors with the estimator's own answers to what its author would give it."""

    def __init__(self, case: Case, pushed: Pushed) -> None:
        self.case = case
        self.pushed = pushed

    def given(self, frame: pd.DataFrame) -> Any:
        """Give rows with the names that the signature has, where the model knows none."""
        signature = self.pushed.signature
        names = [feature.name for feature in signature.inputs]
        if self.case.takes in ("frame", "dicts") and (signature.named or len(names) == 1):
            return frame.apply(_dates_as_texts)
        return frame.set_axis(names[: len(frame.columns)], axis=1)

    def compare(self, door: str, frame: pd.DataFrame, own: Own, got: Outputs | Refused) -> Ask:
        """Judge a door's answer to a frame, to which the estimator's own answer is `own`."""
        verdict, detail = self._verdict(own, got)
        if verdict not in (WRONG, UNJUST):
            return Ask(door, verdict)
        if (
            isinstance(got, Refused)
            and got.reason == "INEXACT_NUMBER"
            and door in ("rows", "tensor")
        ):
            return Ask(door, DOCUMENTED)
        dates = {feature.name for feature in self.pushed.signature.inputs if feature.as_dates}
        for told in as_documented(frame, self.case.frame, dates, rows=door == "rows"):
            if self._verdict(self.own(told), got)[0] not in (WRONG, UNJUST):
                return Ask(door, DOCUMENTED)
        shown = f"; rows {frame.head(2).to_dict('records')} {[str(t) for t in frame.dtypes]}"
        return Ask(door, verdict, detail + shown)

    def together(self, frames: list[pd.DataFrame]) -> Iterator[Ask]:
        """Ask for several callers at once: what each gets does not hang on the others."""
        requests = [self.pushed.message(self.given(frame)) for frame in frames]
        for frame, got in zip(frames, self.pushed.ask(requests), strict=True):
            own = self.own(frame)
            ask = self.compare("together", frame, own, got)
            rounded = ask.verdict == WRONG and self._varies_by_rounding(frame, own, frames)
            yield Ask("together", DOCUMENTED) if rounded else ask

    def _varies_by_rounding(
        self, frame: pd.DataFrame, own: Own, frames: list[pd.DataFrame]
    ) -> bool:
        """Whether BLAS gives the estimator itself other last digits for this batch.

        Large ids in a linear model make much of them. Of the steps here, one alone looks at others.
        """
        place = next(i for i, other in enumerate(frames) if other is frame)
        start = sum(len(other) for other in frames[:place])
        batch = self.own(pd.concat(frames, ignore_index=True))
        if isinstance(own, Exception) or isinstance(batch, Exception):
            return False
        parts = {name: values[start : start + len(frame)] for name, values in batch.items()}
        differs = any(difference(values, parts[name]) for name, values in own.items())
        return differs and "Centred" not in repr(self.case.model)

    def own(self, frame: pd.DataFrame) -> Own:
        """The estimator's own outputs, each asked on rows of its own; what it raises."""
        found: Outputs = {}
        for name in self.pushed.names:
            method = getattr(self.case.model, METHODS[name])
            try:
                found[name] = _dense(method(self.case.form(frame.copy())))
            except Exception as error:
                return error
        return found

    def _verdict(self, own: Own, got: Outputs | Refused) -> tuple[str, str]:
        if isinstance(own, Exception):
            if isinstance(got, Refused):
                return REFUSED, ""
            return WRONG, f"answers where the estimator raises {type(own).__name__}: {own!s:.200}"
        if isinstance(got, Refused):
            return UNJUST, f"{got.reason}: {got.message[:300]}"
        for name, expected in own.items():
            found = difference(expected, got[name])
            if found:
                return WRONG, f"{name}: {found} ({self.pushed.engine}: {self.pushed.reason[:80]})"
        return RIGHT, ""


def _dense(value: Any) -> np.ndarray:
    if isinstance(value, list):
        value = np.hstack(value)
    if hasattr(value, "toarray"):
        value = value.toarray()
    return np.asarray(value)


def difference(expected: np.ndarray, got: np.ndarray) -> str:
    """Say where two answers differ; "" where they do not, by the tolerance of docs/compile.md."""
    if expected.ndim == 2 and expected.shape[1] == 1 and got.ndim == 1:
        expected = expected[:, 0]
    if expected.shape != got.shape:
        return f"shape {got.shape}, not {expected.shape}"
    if expected.dtype.kind in "fc" and got.dtype.kind in "fc":
        wanted, found = expected.astype(float), got.astype(float)
        finite = np.isfinite(wanted)
        usual = min(1.0, float(np.abs(wanted[finite]).mean())) if finite.any() else 1.0
        off = np.abs(wanted - found) > 1e-6 * np.maximum(np.abs(wanted), usual)
        same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
        bad = np.argwhere(~same & (off | ~finite | ~np.isfinite(found)))
    else:
        left, right = _plain(expected, got), got.tolist()
        bad = np.argwhere(np.array(left, object) != np.array(right, object))
    if not len(bad):
        return ""
    place = tuple(bad[0])
    where = [int(i) for i in place]
    return f"{len(bad)} differ, first at {where}: {got[place]!r} not {expected[place]!r}"


def _plain(expected: np.ndarray, got: np.ndarray) -> Any:
    """Give values as they are served: objects that are no numbers are texts."""
    if expected.dtype == object and all(isinstance(value, str) for value in got.ravel()):
        return np.array([str(value) for value in expected.ravel()], object).reshape(got.shape)
    return expected.tolist()


def as_documented(
    frame: pd.DataFrame, fitted: pd.DataFrame, dates: set[str], *, rows: bool
) -> Iterator[pd.DataFrame]:
    """Give a frame as docs/repository.md says that it reaches a model.

    There is one null on the way, which is NaN, or None where the model was fitted on None or takes
    nothing else; numbers are of 64 bits; JSON's whole numbers are int64, beside nulls float64.
    Times are text, but in the columns that are known to hold `dates`. A column of nulls alone is
    taken for every type, so for text too.
    """

    def documented(column: pd.Series) -> pd.Series:
        return column if column.name in dates else _documented(column, rows=rows)

    yield frame.apply(documented)
    if frame.isna().all().any():
        yield frame.apply(lambda c: c.astype("str") if c.isna().all() else documented(c))
    has_none = {
        name for name in fitted.columns if any(value is None for value in fitted[name].tolist())
    }
    texts = {name for name in frame.columns if _is_text(frame[name])}
    for none in (has_none & texts, texts):
        yield frame.apply(
            lambda column, none=none: (
                _with_none(column) if column.name in none else documented(column)
            )
        )


def _dates_as_texts(column: pd.Series) -> pd.Series:
    """Do what the client says to a column of times."""
    return column.dt.strftime("%Y-%m-%dT%H:%M:%S") if column.dtype.kind == "M" else column


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "M"


def _with_none(column: pd.Series) -> pd.Series:
    values = [None if pd.isna(value) else value for value in column]
    return pd.Series(values, column.index, dtype=object)


def _documented(column: pd.Series, *, rows: bool) -> pd.Series:
    kept = column.dropna()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _documented(pd.Series(column.tolist(), column.index), rows=rows)
    if not len(kept):
        return pd.Series(np.nan, column.index, dtype=object if _is_text(column) else float)
    if column.dtype.kind == "M":
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S").astype("str")
    if isinstance(kept.iloc[0], bool | np.bool_):
        return column.astype(bool) if len(kept) == len(column) else _with_none(column)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("str")
    return _documented_numbers(column, has_gaps=len(kept) < len(column), rows=rows)


def _documented_numbers(column: pd.Series, *, has_gaps: bool, rows: bool) -> pd.Series:
    if rows:
        whole = not has_gaps and bool((column == column.round()).all())
        return column.astype("int64" if whole else float)
    if column.dtype.kind in "iu":
        return column.astype("Int64" if has_gaps else "int64")
    return column.astype(float)
