"""Fast paths give scikit-learn's own bits, and leave to it what it refuses."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pushserve_runtime.frames import Array
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType, Layout
from pushserve_sandbox.fast_paths import joined_trees
from pushserve_sandbox.fast_paths.joined_trees import TILED_ROWS
from pushserve_sandbox.fast_paths.pipelines import fast_paths_of
from pushserve_sandbox.fast_paths.select import with_chosen, with_first_equal
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.prediction.fast_path import ONE_PASS, TREE_BY_TREE
from pushserve_sandbox.prediction.model_outputs import quiet
from pushserve_sandbox.prediction.row_arrays import arrays_of
from tests.fixtures.shares import share

X, Y = load_breast_cancer(return_X_y=True)
IRIS, KIND = load_iris(return_X_y=True)
NAMES = load_iris().target_names[KIND]
SUGAR, TARGET = load_diabetes(return_X_y=True)
HOLES = X.copy()
HOLES[::7, 3] = HOLES[::11, 0] = np.nan
SHARED = "its steps run once for all outputs"
PRODUCT = "one product"


def thresholds(estimator) -> np.ndarray:
    """Values on the thresholds of all trees, and one step of float32 to either side."""
    trees = [tree.tree_ for tree in np.ravel(getattr(estimator, "estimators_", [estimator]))]
    found = np.unique(np.concatenate([tree.threshold[tree.feature >= 0] for tree in trees]))
    near = found.astype("f4")
    sides = [np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    doubles = [np.nextafter(found, np.inf), np.nextafter(found, -np.inf)]
    return np.concatenate([found, near, *sides, *doubles]).astype("f8")


def request(rows) -> list[Array]:
    return [Array(DType.FLOAT64, np.ascontiguousarray(rows, "<f8"))]


@cache
def forest(name):
    """One of FORESTS, fitted once."""
    return FORESTS[name]()


@cache
def chosen(estimator):
    """The predictor with the fast path that was chosen, which that is, and on how many rows."""
    return with_first_equal(estimator, inspect_estimator(estimator, Declared(), []), [])


FORESTS = {
    "forest": lambda: RandomForestClassifier(30, random_state=0).fit(X, Y),
    "texts and weights": lambda: RandomForestClassifier(
        30, random_state=0, class_weight="balanced_subsample"
    ).fit(IRIS, NAMES),
    "extra trees": lambda: ExtraTreesClassifier(30, random_state=0).fit(X, Y > 0),
    "two targets": lambda: RandomForestClassifier(20, random_state=0).fit(
        IRIS, np.column_stack([KIND, KIND > 0])
    ),
    "regressor": lambda: RandomForestRegressor(30, random_state=0).fit(SUGAR, TARGET),
    "two values": lambda: ExtraTreesRegressor(20, random_state=0).fit(
        SUGAR, np.column_stack([TARGET, -TARGET])
    ),
    "one tree": lambda: DecisionTreeClassifier(random_state=0).fit(X, Y),
    "one tree's value": lambda: DecisionTreeRegressor(random_state=0).fit(SUGAR, TARGET),
    "a forest of one": lambda: RandomForestRegressor(1, random_state=0).fit(SUGAR, TARGET),
    "stumps without a split": lambda: RandomForestClassifier(5).fit(X[:9], np.zeros(9, int)),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=20, random_state=0).fit(X, Y),
    "boosting of three": lambda: GradientBoostingClassifier(n_estimators=9).fit(IRIS, NAMES),
}


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("rows", share([1, 7, TILED_ROWS, TILED_ROWS + 1, 2000], 2))
def test_trees_have_the_same_bits_on_their_thresholds(name, rows):
    """In batches that are walked at once, and in those that are walked tree by tree."""
    estimator = forest(name)
    values = thresholds(estimator)
    values = values if len(values) else np.arange(9.0)
    shape = (rows, estimator.n_features_in_)
    data = np.random.default_rng(rows).choice(values, shape)
    fast_path = next(fast_paths_of(estimator))

    found = fast_path.start(data)

    assert TREE_BY_TREE == fast_path.how
    main = next(iter(fast_path.outputs))
    assert estimator.predict(data).tobytes() == fast_path.outputs[main](found).tobytes()
    if "probabilities" in fast_path.outputs:
        expected = estimator.predict_proba(data)
        assert expected.tobytes() == fast_path.outputs["probabilities"](found).tobytes()


@pytest.mark.parametrize(
    ("how", "fit"),
    [
        (
            TREE_BY_TREE,
            lambda: make_pipeline(StandardScaler(), FORESTS["forest"]()).fit(X.round(), Y),
        ),
        (TREE_BY_TREE, lambda: RandomForestClassifier(20, random_state=0).fit(HOLES, Y)),
        (TREE_BY_TREE, lambda: HistGradientBoostingClassifier(max_iter=20).fit(HOLES, Y)),
        (TREE_BY_TREE, lambda: HistGradientBoostingClassifier(max_iter=9).fit(IRIS, NAMES)),
        (TREE_BY_TREE, lambda: HistGradientBoostingRegressor(loss="gamma").fit(SUGAR, TARGET)),
        (PRODUCT, lambda: LogisticRegression(max_iter=9999).fit(X, Y > 0)),
        (PRODUCT, lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, NAMES)),
        (
            PRODUCT,
            lambda: make_pipeline(SimpleImputer(), MinMaxScaler(), LogisticRegression()).fit(
                HOLES, Y
            ),
        ),
        (PRODUCT, lambda: make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(X, Y)),
        (PRODUCT, lambda: make_pipeline(StandardScaler(), ElasticNet()).fit(SUGAR, TARGET)),
        (PRODUCT, lambda: Ridge().fit(SUGAR, np.column_stack([TARGET, -TARGET]))),
        (ONE_PASS, lambda: GaussianNB().fit(IRIS, NAMES)),
        (
            ONE_PASS,
            lambda: VotingClassifier(
                [("a", GaussianNB()), ("b", DecisionTreeClassifier())], voting="soft"
            ).fit(IRIS, NAMES),
        ),
        (SHARED, lambda: make_pipeline(PCA(2), KNeighborsClassifier()).fit(IRIS, KIND)),
        (
            TREE_BY_TREE,
            lambda: GridSearchCV(
                RandomForestClassifier(5, random_state=0), {"max_depth": [2, 3]}
            ).fit(IRIS, KIND),
        ),
        ("", lambda: KNeighborsClassifier().fit(IRIS, KIND)),
        ("", lambda: StandardScaler().fit(IRIS)),
    ],
)
def test_chosen_fast_path(how, fit):
    """The fastest that is known, with the estimator's bits on a thousand rows or more.

    Fewer show that its own code, called once, is its own code.
    """
    estimator = fit()
    predictor, got, rows = chosen(estimator)

    assert how == got
    assert (rows >= (256 if how == SHARED else 1000)) == bool(how)
    data = {30: X, 4: IRIS, 10: SUGAR}[estimator.n_features_in_][:50]
    for batch in (data, data[:1]):
        own = inspect_estimator(estimator, Declared(), []).predict
        names = [spec.name for spec in predictor.signature.outputs]
        with quiet():
            pairs = list(
                zip(
                    predictor.predict(request(batch), names),
                    own(request(batch), names),
                    strict=True,
                )
            )
        for mine, theirs in pairs:
            assert theirs.values.tolist() == mine.values.tolist()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e39, -1e300])
@pytest.mark.parametrize("place", ["alone", "among good rows"])
def test_what_scikit_learn_refuses_is_refused(bad, place):
    """Too large for float32 is an error there, and no answer here."""
    predictor, how, _ = chosen(forest("forest"))
    data = X[:1].copy() if place == "alone" else X[:70].copy()
    data[-1, 5] = bad

    assert TREE_BY_TREE == how
    with pytest.raises(ValueError, match="infinity"), quiet():
        predictor.predict(request(data), ["label", "probabilities"])


def test_missing_value_that_is_refused():
    predictor, how, _ = chosen(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, KIND)
    )

    assert PRODUCT == how
    with pytest.raises(ValueError, match="NaN"):
        predictor.predict(request([[1, 2, np.nan, 4]]), ["label"])


def test_overflow_behind_a_scaler_is_refused():
    """The row itself is finite; what the scaler makes of it is not."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS * 1e-8, KIND)
    predictor, how, _ = chosen(model)

    assert PRODUCT == how
    with pytest.raises(ValueError, match="infinity"), quiet():
        predictor.predict(request([[1e305, 0, 0, 0]]), ["label"])


def test_infinity_is_not_imputed_away():
    model = make_pipeline(StandardScaler(), SimpleImputer(), LogisticRegression()).fit(HOLES, Y)
    predictor, how, _ = chosen(model)
    row = X[:1].copy()
    row[0, 0] = np.inf

    assert PRODUCT == how
    with pytest.raises(ValueError, match="infinity"):
        predictor.predict(request(row), ["label"])


def test_missing_values_take_the_trees_own_way():
    forest = RandomForestClassifier(20, random_state=0).fit(HOLES, Y)
    fast_path = next(fast_paths_of(forest))

    found = fast_path.start(HOLES[:60])

    assert np.isnan(HOLES[:60]).any()
    assert (
        forest.predict_proba(HOLES[:60]).tobytes()
        == fast_path.outputs["probabilities"](found).tobytes()
    )


def test_ties_go_to_the_class_that_scikit_learn_takes():
    """A score of 1e-17 is the second class, though both probabilities are 0.5."""
    model = LogisticRegression().fit([[-1.0], [1.0]], ["a", "b"])
    model.coef_, model.intercept_ = np.array([[1e-17]]), np.zeros(1)
    predictor, how, _ = chosen(model)

    label, probabilities = predictor.predict(request([[1.0]]), ["label", "probabilities"])

    assert PRODUCT == how
    assert ["b"] == label.values.tolist()
    assert [[0.5, 0.5]] == probabilities.values.tolist()


def test_walk_that_differs_in_one_bit_is_not_taken(monkeypatch):
    """Neither by a build nor by a worker that was told to; the next way is."""
    forest = FORESTS["forest"]()
    own = inspect_estimator(forest, Declared(), [])
    monkeypatch.setattr(
        joined_trees,
        "summed",
        lambda values: np.nextafter(np.add.accumulate(values, axis=0)[-1], 9e9),
    )

    predictor, how, _ = chosen(forest)
    again = with_chosen(forest, own, [], TREE_BY_TREE)

    assert ONE_PASS == how
    assert own is again
    assert (
        forest.predict_proba(X[:5]).tobytes()
        == predictor.predict(request(X[:5]), ["probabilities"])[0].values.tobytes()
    )


def test_forest_that_is_too_large_to_join(monkeypatch):
    monkeypatch.setattr(joined_trees, "_NODES_LIMIT", 10)
    monkeypatch.setattr(joined_trees, "join", None)
    forest = FORESTS["forest"]()
    fast_path = next(fast_paths_of(forest))

    found = fast_path.start(X[:3])

    assert (
        forest.predict_proba(X[:3]).tobytes() == fast_path.outputs["probabilities"](found).tobytes()
    )


def test_tables_share_their_transformers():
    """Nulls and texts go through the pipeline's own steps, once."""
    frame = pd.DataFrame({"colour": ["red", None, "blue"] * 20, "size": [1.0, np.nan, 3.0] * 20})
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    columns = make_column_transformer((texts, ["colour"]), (SimpleImputer(), ["size"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame, ["x", "y", "y"] * 20)
    predictor, how, _ = chosen(model)
    rows = [["red", 1.0], [None, 2.0], ["blue", None]]

    label, probabilities = predictor.predict(
        arrays_of(Layout.TABLE, predictor.signature.inputs, rows), ["label", "probabilities"]
    )

    expected = pd.DataFrame(rows, columns=frame.columns)
    assert PRODUCT == how
    assert model.predict(expected).tolist() == label.values.tolist()
    assert model.predict_proba(expected).tolist() == probabilities.values.tolist()


def test_report_says_how_it_is_walked(folder):
    """The worker is told by it."""
    result = folder.build(FORESTS["forest"](), engine="worker")

    assert TREE_BY_TREE == result["report"]["fast_path"]
    assert re.search(
        r"; tree by tree, bit-equal on \d,\d{3} trial rows$",
        result["report"]["engine_reason"],
    )


def test_worker_fast_paths(folder, start_worker):
    """Both with and without being told; the answers are the estimator's."""
    forest = FORESTS["forest"]()
    built = folder.build(forest, engine="worker")
    told = folder.spec(signature=built["signature"], fast_path=built["report"]["fast_path"])
    for spec in (told, folder.spec()):
        client = start_worker(spec).client()
        client.send(1, request(X[:40]), 3)

        _, (labels, probabilities) = client.answer()

        assert forest.predict(X[:40]).tolist() == labels
        assert forest.predict_proba(X[:40]).tolist() == probabilities


def test_worker_takes_what_the_build_has_chosen():
    """And its own way where the build has found none."""
    forest = FORESTS["forest"]()
    own = inspect_estimator(forest, Declared(), [])

    assert with_chosen(forest, own, [], TREE_BY_TREE) is not own
    assert with_chosen(forest, own, [], "") is own
    assert with_chosen(forest, own, [], "a way that is not known any more") is own


def test_transformer_that_writes_into_its_input():
    """Label and probabilities are both of the row as it came."""
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(IRIS.copy(), KIND)
    predictor, how, _ = chosen(model)
    rows = IRIS[::40]

    label, probabilities = predictor.predict(request(rows.copy()), ["label", "probabilities"])

    assert PRODUCT == how
    assert model.predict(rows.copy()).tolist() == label.values.tolist()
    assert model.predict_proba(rows.copy()).tolist() == probabilities.values.tolist()


def test_subclass_with_a_predict_of_its_own_is_left_alone():
    class Contrary(RandomForestClassifier):
        def predict(self, rows):
            return super().predict(rows)[::-1]

    assert "" == chosen(Contrary(5).fit(IRIS, KIND))[1]
