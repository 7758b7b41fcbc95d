"""Own steps: what people write in a module beside their model and put into their pipelines.

Each model's folder gets a copy of this file, as a pickle holds the names of classes alone. They
are written as people write them: some set what scikit-learn's convention asks for, some do not,
some write into what they are given, some look at the types of their columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin, clone


class ToText(TransformerMixin, BaseEstimator):
    """Every value as text: 1 is another category than 1.0."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.astype(str)


class Lengths(TransformerMixin, BaseEstimator):
    """Lengths of texts; a null has none."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        frame = pd.DataFrame(X)
        return np.column_stack([frame[c].fillna("").astype(str).str.len() for c in frame])


class Clip(TransformerMixin, BaseEstimator):
    """Numbers within what was seen; writes into the frame or array that it is given."""

    def fit(self, X, y=None):
        values = np.asarray(X, float)
        self.low_, self.high_ = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        return self

    def transform(self, X):
        if hasattr(X, "columns"):
            for number, name in enumerate(X.columns):
                X[name] = X[name].clip(self.low_[number], self.high_[number])
            return X
        X = X if X.flags.writeable and X.dtype.kind == "f" else X.astype(float)
        return np.clip(X, self.low_, self.high_, out=X)


class Fill(TransformerMixin, BaseEstimator):
    """Gaps by the column's most frequent value."""

    def fit(self, X, y=None):
        frame = pd.DataFrame(X)
        self.fill_ = {c: frame[c].mode().iloc[0] for c in frame if frame[c].notna().any()}
        return self

    def transform(self, X):
        return pd.DataFrame(X).fillna(self.fill_)


class DateParts(TransformerMixin, BaseEstimator):
    """Year, month and day of dates, given as datetimes or as text."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        parts = []
        for name in X.columns:
            dates = pd.to_datetime(X[name])
            parts += [dates.dt.year, dates.dt.month, dates.dt.dayofweek]
        return np.nan_to_num(np.column_stack(parts).astype(float), nan=-1.0)


class Ratio(TransformerMixin, BaseEstimator):
    """Adds the ratio of the first two columns, by their places, to a frame of numbers."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        first, second = X.iloc[:, 0], X.iloc[:, -1]
        return X.assign(ratio=first / (second.abs() + 1))


class Pick(TransformerMixin, BaseEstimator):
    """Some columns by name, in another order than they came in."""

    def __init__(self, names=()):
        self.names = names

    def fit(self, X, y=None):
        self.feature_names_in_ = np.asarray(X.columns, object)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X[list(self.names)]

    def get_feature_names_out(self, input_features=None):
        return np.asarray(self.names, object)


class Sorted(TransformerMixin, BaseEstimator):
    """A frame's columns by name; of an array as they are."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[sorted(X.columns)] if hasattr(X, "columns") else X


class Mapped(TransformerMixin, BaseEstimator):
    """Each value's rate of the target, by a dictionary; what is unknown gets the mean."""

    def fit(self, X, y):
        target = pd.factorize(np.asarray(y))[0].astype(float)
        self.mean_of_target = target.mean()
        self.rates = [
            pd.Series(target).groupby(pd.Series(list(X[c]))).mean().to_dict() for c in X.columns
        ]
        return self

    def transform(self, X):
        columns = zip(X.columns, self.rates, strict=True)
        return np.column_stack(
            [[rates.get(v, self.mean_of_target) for v in X[c]] for c, rates in columns]
        )


class Dummies(TransformerMixin, BaseEstimator):
    """pandas' dummies, brought to the columns that fitting had."""

    def fit(self, X, y=None):
        self.columns_ = pd.get_dummies(X).columns
        return self

    def transform(self, X):
        return pd.get_dummies(X).reindex(columns=self.columns_, fill_value=0).astype(float)


class Remainders(TransformerMixin, BaseEstimator):
    """Remainders of whole numbers, which float64 has lost from 2^53 on."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.column_stack([np.asarray(X[c]) % 7 for c in X.columns])


class Centred(TransformerMixin, BaseEstimator):
    """Each column less its mean in this very batch."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        values = np.asarray(X, float)
        return values - np.nanmean(values, axis=0)


class Rule(ClassifierMixin, BaseEstimator):
    """A rule by the first column's median, and no more."""

    def fit(self, X, y):
        values = np.asarray(X, float)
        self.classes_ = np.unique(y)
        self.limit = float(np.nanmedian(values[:, 0]))
        self.n_features_in_ = values.shape[1]
        return self

    def predict(self, X):
        above = np.asarray(X, float)[:, 0] > self.limit
        return self.classes_[np.where(above, len(self.classes_) - 1, 0)]


class Twice(RegressorMixin, BaseEstimator):
    """A meta-estimator: fits another one twice, and gives their mean."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, X, y):
        self.models_ = [clone(self.inner).fit(X, y), clone(self.inner).fit(X[::-1], y[::-1])]
        return self

    def predict(self, X):
        return np.mean([model.predict(X) for model in self.models_], axis=0)


class Thresholded(ClassifierMixin, BaseEstimator):
    """A meta-estimator: another's label, where it is sure, else the first class."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, X, y):
        self.fitted = clone(self.inner).fit(X, y)
        self.classes_ = self.fitted.classes_
        return self

    def predict(self, X):
        sure = self.fitted.predict_proba(X).max(axis=1) > 0.6
        return np.where(sure, self.fitted.predict(X), self.classes_[0])


def without_gaps(X):
    """Fill gaps with 0, in place."""
    if hasattr(X, "columns"):
        for name in X.columns:
            X[name] = X[name].fillna(0)
        return X
    X = X if X.flags.writeable else X.copy()
    X[np.isnan(X)] = 0
    return X


def log_of_all(X):
    """Logarithms, whatever the sign."""
    return np.log1p(np.abs(X))


def lower(X):
    """Texts in small letters, without spaces around."""
    return X.apply(lambda column: column.fillna("none").str.lower().str.strip())


def first_texts(X):
    """The only column's texts, as a vectorizer takes them."""
    column = X.iloc[:, 0] if hasattr(X, "columns") else X[:, 0]
    return pd.Series(column).fillna("").astype(str)


def is_missing(X):
    """Which are null."""
    return pd.DataFrame(X).isna().astype(float)


def at_least_zero(X):
    """Negative numbers become 0, by a frame's own indexing."""
    for name in X.columns:
        X.loc[X[name] < 0, name] = 0
    return X
