"""Models: random estimators behind the steps, meta-estimators around them, and fitted cases."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import own_steps
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.answers.frames import (
    NUMBERS,
    TEXTS,
    Column,
    Random,
    frame_of,
    fresh_rows,
    random_columns,
    random_labels,
    random_values,
)
from tests.answers.steps import by_columns, for_numbers, for_sentences, for_texts, one_of, pick

Form = Callable[[pd.DataFrame], Any]
"""From rows as a frame to what the author gives to the estimator."""


def classifier(rng: Random) -> Any:
    seed = {"random_state": 0}
    return pick(
        rng,
        lambda: LogisticRegression(C=one_of(rng, 0.1, 1.0, 10.0), max_iter=200),
        lambda: RandomForestClassifier(5, max_depth=4, **seed),
        lambda: ExtraTreesClassifier(5, max_depth=4, **seed),
        lambda: GradientBoostingClassifier(n_estimators=5, **seed),
        lambda: HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, **seed),
        lambda: DecisionTreeClassifier(max_depth=4, **seed),
        lambda: LinearSVC(**seed),
        lambda: SVC(probability=False, kernel=one_of(rng, "rbf", "linear")),
        GaussianNB,
        BernoulliNB,
        lambda: KNeighborsClassifier(3),
        lambda: SGDClassifier(loss="log_loss", **seed),
        RidgeClassifier,
        lambda: Perceptron(**seed),
        LinearDiscriminantAnalysis,
        lambda: MLPClassifier((4,), max_iter=30, **seed),
        lambda: AdaBoostClassifier(n_estimators=4, **seed),
        lambda: DummyClassifier(strategy="prior"),
        own_steps.Rule,
    )


def regressor(rng: Random) -> Any:
    seed = {"random_state": 0}
    return pick(
        rng,
        Ridge,
        LinearRegression,
        lambda: ElasticNet(alpha=0.1),
        lambda: RandomForestRegressor(5, max_depth=4, **seed),
        lambda: GradientBoostingRegressor(n_estimators=5, **seed),
        lambda: HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5, **seed),
        lambda: DecisionTreeRegressor(max_depth=4, **seed),
        lambda: KNeighborsRegressor(3),
        SVR,
    )


def classifier_around(rng: Random, inner: Any, other: Any, parameter: dict[str, list[Any]]) -> Any:
    """A meta-estimator around a classifier that takes the rows."""
    return pick(
        rng,
        lambda: CalibratedClassifierCV(inner, cv=2, ensemble=bool(rng.random() < 0.5)),
        lambda: VotingClassifier([("a", inner), ("b", other)], voting=one_of(rng, "hard", "soft")),
        lambda: StackingClassifier([("a", inner), ("b", other)], cv=2),
        lambda: StackingClassifier([("a", inner)], cv=2, passthrough=True),
        lambda: BaggingClassifier(inner, n_estimators=2, random_state=0),
        lambda: OneVsRestClassifier(inner),
        lambda: OneVsOneClassifier(inner),
        lambda: GridSearchCV(inner, parameter, cv=2),
        lambda: TunedThresholdClassifierCV(inner, cv=2),
        lambda: FixedThresholdClassifier(inner, threshold=0.4),
        lambda: own_steps.Thresholded(inner),
        lambda: Pipeline([("inner", inner)]),
    )


def regressor_around(rng: Random, inner: Any, other: Any, parameter: dict[str, list[Any]]) -> Any:
    return pick(
        rng,
        lambda: TransformedTargetRegressor(inner, func=np.sinh, inverse_func=np.arcsinh),
        lambda: VotingRegressor([("a", inner), ("b", other)], weights=one_of(rng, None, [1, 2])),
        lambda: StackingRegressor([("a", inner), ("b", other)], cv=2),
        lambda: BaggingRegressor(inner, n_estimators=2, random_state=0),
        lambda: GridSearchCV(inner, parameter, cv=2),
        lambda: own_steps.Twice(inner),
    )


@dataclass(frozen=True)
class Case:
    """A fitted model, the rows it was fitted on, and how its author asks it."""

    model: Any
    frame: pd.DataFrame
    form: Form
    takes: str
    """What it was fitted on: frame, array, texts, dicts."""
    fresh: pd.DataFrame
    """Rows that come later."""


class Unfit(Exception):
    """scikit-learn itself does not fit the pipeline, or predict the rows that it was fitted on."""


def random_case(rng: Random) -> Case:
    """Make and fit one pipeline.

    Raises:
        Unfit: it cannot be fitted, as many random ones.
    """
    rows = int(rng.integers(40, 120))
    takes = rng.choice(["frame", "array", "texts", "objects", "dicts"], p=_TAKES)
    columns = random_columns(rng, rows, most=4, of=_COLUMNS.get(takes))
    if takes == "texts":
        columns = columns[:1]
    frame = frame_of(columns)
    form = _FORMS[takes]
    steps = _steps(rng, takes, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = _fitted(rng, steps, form(frame.copy()), columns)
            (model.predict if hasattr(model, "predict") else model.transform)(form(frame.copy()))
        except Exception as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error
    return Case(model, frame, form, takes, fresh_rows(rng, frame, 12))


def _steps(rng: Random, takes: str, columns: list[Column]) -> Any:
    """What stands before the estimator; a function, as meta-estimators take it twice."""
    if takes == "texts":
        return lambda: for_sentences(rng)
    if takes == "dicts":
        return lambda: DictVectorizer(sparse=bool(rng.random() < 0.5))
    if takes == "objects":
        return lambda: for_texts(rng)
    if takes == "array" or (
        all(column.kind in NUMBERS for column in columns) and rng.random() < 0.5
    ):
        return lambda: for_numbers(rng, gaps=any(column.has_gaps for column in columns))
    return lambda: _by_columns(rng, columns)


def _by_columns(rng: Random, columns: list[Column]) -> Any:
    made = by_columns(rng, columns)
    if rng.random() < 0.12:  # a step of people's own before all
        names = [column.name for column in columns]
        first = one_of(rng, own_steps.Pick(names), own_steps.Pick(names[::-1]))
        return make_pipeline(first, made)
    if rng.random() < 0.1:
        return FeatureUnion([("a", made), ("b", by_columns(rng, columns))])
    if rng.random() < 0.1:
        names = [column.name for column in columns]
        return ColumnTransformer([("all", made, names)])
    return made


def _fitted(rng: Random, steps: Callable[[], Any], X: Any, columns: list[Column]) -> Any:
    kind = rng.choice(["classifier", "regressor", "transformer", "other", "several"], p=_ENDS)
    if kind == "transformer":
        return _piped(steps()).fit(X, random_labels(rng, columns))
    if kind == "other":
        end = one_of(rng, KMeans(3, n_init=1, random_state=0), IsolationForest(5, random_state=0))
        return make_pipeline(steps(), end).fit(X)
    if kind == "several":
        return _several(rng, steps, X, columns)
    make = classifier if kind == "classifier" else regressor
    around = classifier_around if kind == "classifier" else regressor_around
    end = make(rng)
    model = make_pipeline(steps(), end) if rng.random() < 0.95 else end
    if rng.random() < 0.35:
        other = make_pipeline(steps(), make(rng))
        model = around(rng, model, other, _parameter(end, model))
        if rng.random() < 0.2:
            other = make_pipeline(steps(), make(rng))
            model = around(rng, model, other, {})
    targets = random_labels if kind == "classifier" else random_values
    return model.fit(X, targets(rng, columns))


def _piped(step: Any) -> Any:
    return step if hasattr(step, "fit") else make_pipeline(step)


def _parameter(end: Any, model: Any) -> dict[str, list[Any]]:
    """Something to search by, for GridSearchCV."""
    name = next(iter(end.get_params()), None)
    prefix = "" if model is end else f"{model.steps[-1][0]}__"
    return {} if name is None else {f"{prefix}{name}": [end.get_params()[name]]}


def _several(rng: Random, steps: Callable[[], Any], X: Any, columns: list[Column]) -> Any:
    """A model of several targets."""
    if rng.random() < 0.5:
        y = np.column_stack([random_values(rng, columns) for _ in range(2)])
        inner = pick(rng, lambda: MultiOutputRegressor(regressor(rng)), Ridge, LinearRegression)
        return make_pipeline(steps(), inner).fit(X, y)
    y = np.column_stack([(random_values(rng, columns) > 1).astype(int) for _ in range(2)])
    if rng.random() < 0.3:
        return MultiOutputClassifier(make_pipeline(steps(), classifier(rng))).fit(X, y)
    inner = pick(
        rng,
        lambda: MultiOutputClassifier(classifier(rng)),
        lambda: ClassifierChain(classifier(rng)),
        lambda: DecisionTreeClassifier(max_depth=3, random_state=0),
        lambda: RandomForestClassifier(4, max_depth=3, random_state=0),
    )
    return make_pipeline(steps(), inner).fit(X, y)


def _array(frame: pd.DataFrame) -> Any:
    return frame.to_numpy(dtype=float, na_value=np.nan)


def _objects(frame: pd.DataFrame) -> Any:
    return frame.to_numpy(dtype=object)


def _texts(frame: pd.DataFrame) -> Any:
    return frame.iloc[:, 0].tolist()


def _dicts(frame: pd.DataFrame) -> Any:
    """As people write records by hand: without what is null."""
    records = frame.to_dict(orient="records")
    return [{key: v for key, v in record.items() if pd.notna(v)} for record in records]


_TAKES = (0.72, 0.12, 0.06, 0.06, 0.04)
_ENDS = (0.5, 0.28, 0.1, 0.04, 0.08)
_FORMS: dict[str, Form] = {
    "frame": lambda frame: frame,
    "array": _array,
    "objects": _objects,
    "texts": _texts,
    "dicts": _dicts,
}
_COLUMNS = {
    "array": frozenset({"floats", "floats_with_gaps", "integers", "codes", "bools"}),
    "texts": frozenset({"sentences", "words"}),
    "objects": TEXTS - {"categories", "words_of_arrow"},
    "dicts": frozenset({"floats", "codes", "words"}),
}
