"""Steps: random transformers for columns of one kind, scikit-learn's and people's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import own_steps
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from tests.answers.frames import NUMBERS, TEXTS, Column, Random

OWN_SHARE = 0.25
"""How many of the branches hold a step of people's own."""


def pick(rng: Random, *makers: Callable[[], Any]) -> Any:
    return makers[int(rng.integers(len(makers)))]()


def one_of(rng: Random, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def imputer(rng: Random) -> Any:
    return pick(
        rng,
        lambda: SimpleImputer(strategy=one_of(rng, "mean", "median", "most_frequent")),
        lambda: SimpleImputer(strategy="constant", fill_value=one_of(rng, 0, -1.5)),
        lambda: SimpleImputer(add_indicator=True, strategy=one_of(rng, "mean", "median")),
        lambda: SimpleImputer(strategy="median", keep_empty_features=True),
        lambda: KNNImputer(n_neighbors=3),
        lambda: FunctionTransformer(own_steps.without_gaps),
    )


def scaler(rng: Random) -> Any:
    return pick(
        rng,
        StandardScaler,
        lambda: StandardScaler(with_mean=False),
        MinMaxScaler,
        lambda: MinMaxScaler(clip=True, feature_range=(-1, 1)),
        RobustScaler,
        MaxAbsScaler,
        Normalizer,
        lambda: Binarizer(threshold=float(rng.normal())),
        lambda: KBinsDiscretizer(
            n_bins=4,
            encode=one_of(rng, "onehot", "ordinal", "onehot-dense"),
            strategy=one_of(rng, "uniform", "quantile"),
            quantile_method="averaged_inverted_cdf",
        ),
        lambda: PolynomialFeatures(2, interaction_only=bool(rng.random() < 0.5)),
        PowerTransformer,
        lambda: QuantileTransformer(n_quantiles=20),
        lambda: SplineTransformer(n_knots=4),
        lambda: PCA(1, random_state=0),
        VarianceThreshold,
        lambda: SelectKBest(f_classif, k=1),
        lambda: FunctionTransformer(np.log1p if rng.random() < 0.2 else np.abs),
        FunctionTransformer,
        lambda: FunctionTransformer(own_steps.log_of_all),
        lambda: "passthrough",
    )


def own_for_numbers(rng: Random) -> Any:
    return pick(
        rng,
        own_steps.Clip,
        own_steps.Fill,
        own_steps.Centred,
        lambda: FunctionTransformer(own_steps.without_gaps),
        lambda: FunctionTransformer(own_steps.is_missing),
        lambda: FunctionTransformer(own_steps.at_least_zero),
        own_steps.Ratio,
        own_steps.Sorted,
        own_steps.Mapped,
        lambda: make_pipeline(own_steps.ToText(), OneHotEncoder(handle_unknown="ignore")),
    )


def for_numbers(rng: Random, *, gaps: bool) -> Any:
    """A transformer, or a chain or union of some, for columns of numbers."""
    chain = []
    if rng.random() < OWN_SHARE:
        chain.append(own_for_numbers(rng))
    if (gaps and rng.random() < 0.85) or rng.random() < 0.2:
        chain.append(imputer(rng))
    chain += [scaler(rng) for _ in range(int(rng.integers(0, 3)))]
    if rng.random() < 0.1:
        chain.append(
            FeatureUnion([("a", scaler(rng)), ("b", one_of(rng, MinMaxScaler(), "passthrough"))])
        )
    if rng.random() < 0.05 and gaps:
        return FeatureUnion([("missing", MissingIndicator()), ("values", _chained(chain))])
    return _chained(chain)


def _chained(chain: list[Any]) -> Any:
    if not chain:
        return "passthrough"
    return chain[0] if len(chain) == 1 else make_pipeline(*chain)


def encoder(rng: Random) -> Any:
    return pick(
        rng,
        lambda: OneHotEncoder(handle_unknown="ignore", sparse_output=bool(rng.random() < 0.7)),
        OneHotEncoder,
        lambda: OneHotEncoder(drop=one_of(rng, "first", "if_binary"), handle_unknown="ignore"),
        lambda: OneHotEncoder(min_frequency=0.1, handle_unknown="infrequent_if_exist"),
        lambda: OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist"),
        lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        lambda: OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
        ),
        OrdinalEncoder,
        lambda: TargetEncoder(random_state=0),
    )


def for_texts(rng: Random) -> Any:
    """An encoder of categories, maybe behind an imputer or a step of people's own."""
    chain = []
    if rng.random() < OWN_SHARE:
        chain.append(
            pick(
                rng,
                own_steps.ToText,
                own_steps.Fill,
                lambda: FunctionTransformer(own_steps.lower),
                lambda: FunctionTransformer(own_steps.lower, feature_names_out="one-to-one"),
            )
        )
    if rng.random() < 0.3:
        chain.append(
            pick(
                rng,
                lambda: SimpleImputer(strategy="most_frequent"),
                lambda: SimpleImputer(strategy="constant", fill_value="none"),
                lambda: SimpleImputer(missing_values=None, strategy="constant", fill_value="none"),
            )
        )
    if rng.random() < 0.12:
        return pick(rng, own_steps.Lengths, own_steps.Mapped, own_steps.Dummies)
    return _chained([*chain, encoder(rng)])


def for_sentences(rng: Random) -> Any:
    """A vectorizer, of words or letters."""
    chosen = pick(
        rng,
        CountVectorizer,
        TfidfVectorizer,
        lambda: TfidfVectorizer(ngram_range=(1, 2), min_df=2),
        lambda: CountVectorizer(analyzer="char_wb", ngram_range=(2, 3), max_features=30),
        lambda: CountVectorizer(binary=True, lowercase=False),
    )
    if rng.random() < 0.2:
        return make_pipeline(chosen, TruncatedSVD(2, random_state=0))
    return chosen


def for_dates(rng: Random) -> Any:
    return pick(rng, own_steps.DateParts, own_steps.DateParts, OneHotEncoder, OrdinalEncoder)


def for_large_ids(rng: Random) -> Any:
    return pick(
        rng,
        own_steps.Remainders,
        lambda: OneHotEncoder(handle_unknown="ignore"),
        lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        own_steps.ToText,
        own_steps.Mapped,
        StandardScaler,
    )


def branch_for(rng: Random, column: Column) -> Any:
    """A transformer for one column, by its kind."""
    if column.kind == "sentences":
        return for_sentences(rng)
    if column.kind == "dates":
        return for_dates(rng)
    if column.kind == "large_ids":
        return for_large_ids(rng)
    is_code = column.kind in {"codes", "integers", "bools"} and rng.random() < 0.4
    if column.kind in TEXTS or is_code:
        return for_texts(rng)
    return for_numbers(rng, gaps=column.has_gaps)


def by_columns(rng: Random, columns: list[Column]) -> Any:
    """A ColumnTransformer, in which kinds share branches or columns have their own."""
    branches: list[tuple[str, Any, Any]] = []
    used: list[Column] = []
    for group in _groups(rng, columns):
        if rng.random() < 0.15 and len(columns) > 1:
            continue  # a column that nothing uses
        names: Any = [column.name for column in group]
        if group[0].kind in NUMBERS and len(group) > 1:
            made = for_numbers(rng, gaps=any(column.has_gaps for column in group))
        else:
            made = branch_for(rng, group[0])
        if group[0].kind == "sentences":
            names = names[0]
        branches.append((f"b{len(branches)}", made, names))
        used += group
    remainder = "drop"
    left = [column for column in columns if column not in used]
    if rng.random() < 0.3 and all(column.kind in NUMBERS for column in left):
        remainder = "passthrough"
    if rng.random() < 0.1 and used:
        branches.append(("twice", branch_for(rng, used[0]), [used[0].name]))
        if used[0].kind == "sentences":
            branches.pop()
    if not branches:
        branches = [("all", "passthrough", [columns[0].name])]
    return ColumnTransformer(
        branches,
        remainder=remainder,
        sparse_threshold=one_of(rng, 0.3, 0.0),
        verbose_feature_names_out=bool(rng.random() < 0.7),
    )


def _groups(rng: Random, columns: list[Column]) -> list[list[Column]]:
    numbers = [column for column in columns if column.kind in NUMBERS]
    texts = [column for column in columns if column.kind in TEXTS]
    groups = []
    if len(numbers) > 1 and rng.random() < 0.6:
        groups.append(numbers)
    if len(texts) > 1 and rng.random() < 0.4:
        groups.append(texts)
    grouped = [column for group in groups for column in group]
    return [*groups, *([column] for column in columns if column not in grouped)]
