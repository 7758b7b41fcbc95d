"""People's own steps: values of their own for each method, and no rows of other callers."""

from __future__ import annotations

import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

from pushserve_runtime.frames import Array, Kind, encode_arrays, encode_frame
from pushserve_runtime.job_spec import Declared
from pushserve_runtime.signature import DType
from pushserve_sandbox.build.independence import why_dependent
from pushserve_sandbox.build.trial_inputs import trial_inputs
from pushserve_sandbox.fast_paths.select import with_first_equal
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.prediction.row_arrays import arrays_of
from tests.fixtures import graphs

X, Y = load_iris(return_X_y=True)
D = pd.DataFrame(X, columns=list("abcd"))
HOLES = D.mask(D < 1.0)


class TimesTen(TransformerMixin, BaseEstimator):
    """Writes into what it is handed, as the A8 of the cases."""

    def fit(self, rows, _labels=None):
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows):
        rows *= 10
        return rows


class Shifting(ClassifierMixin, BaseEstimator):
    """Moves its rows in place before it answers."""

    def fit(self, rows, y):
        self.classes_ = np.unique(y)
        self.model_ = KNeighborsClassifier().fit(np.asarray(rows) + 1.0, y)
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows):
        rows += 1.0
        return self.model_.predict(rows)

    def predict_proba(self, rows):
        rows += 1.0
        return self.model_.predict_proba(rows)


def tenfold(rows):
    rows *= 10
    return rows


def clipped(rows):
    return np.clip(rows, 1.0, 5.0, out=rows)


def filled(rows):
    rows.fillna(rows.max().max(), inplace=True)  # noqa: PD002 (the fault)
    rows.iloc[:, 0] = rows.iloc[:, 0] * 3
    return rows


def written(rows):
    rows.loc[rows.a > 5, "a"] = 0
    rows["b"] = rows["b"] * 2
    return rows


def fitted(*steps, rows=X):
    """A pipeline that was fitted on rows of its own, as steps may write into them when fitted."""
    return make_pipeline(*steps).fit(rows.copy(), Y)


WRITERS = {
    "a step of a class": lambda: fitted(TimesTen(), KNeighborsClassifier()),
    "a function": lambda: fitted(FunctionTransformer(tenfold), KNeighborsClassifier()),
    "NumPy's out": lambda: fitted(FunctionTransformer(clipped), KNeighborsClassifier()),
    "a library's copy=False": lambda: fitted(StandardScaler(copy=False), KNeighborsClassifier()),
    "behind a fast step": lambda: fitted(
        StandardScaler(with_mean=False, with_std=False), TimesTen(), KNeighborsClassifier()
    ),
    "the classifier": lambda: fitted(StandardScaler(), Shifting()),
    "all of it": lambda: Shifting().fit(X, Y),
    "inside of a vote": lambda: VotingClassifier(
        [
            ("a", make_pipeline(TimesTen(), KNeighborsClassifier())),
            ("b", LogisticRegression(max_iter=5000)),
        ],
        voting="soft",
    ).fit(X.copy(), Y),
    "a frame's fillna": lambda: fitted(
        FunctionTransformer(filled), KNeighborsClassifier(), rows=HOLES
    ),
    "a frame's loc": lambda: fitted(FunctionTransformer(written), KNeighborsClassifier(), rows=D),
    "a branch of columns": lambda: fitted(
        make_column_transformer((FunctionTransformer(filled), ["a", "b"]), remainder="passthrough"),
        KNeighborsClassifier(),
        rows=D,
    ),
}


FAST = ("a step of a class", "behind a fast step", "inside of a vote")


@pytest.mark.parametrize(
    ("name", "with_fast_path"), [*((name, False) for name in WRITERS), *((n, True) for n in FAST)]
)
def test_code_that_writes_into_its_values_gets_its_own_for_each_output(name, with_fast_path):
    model = WRITERS[name]()
    is_frame = hasattr(model, "feature_names_in_")
    rows = HOLES if name == "a frame's fillna" else D
    predictor = inspect_estimator(model, Declared(), [])
    if with_fast_path:
        predictor, _, _ = with_first_equal(model, predictor, [])
    signature = predictor.signature
    values = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    arrays = arrays_of(signature.layout, signature.inputs, values)

    label, probabilities, again = predictor.predict(arrays, ["label", "probabilities", "label"])

    handed = rows if is_frame else rows.to_numpy()
    assert model.predict(handed.copy()).tolist() == label.values.tolist()
    assert np.array_equal(model.predict_proba(handed.copy()), probabilities.values)
    assert label.values.tolist() == again.values.tolist()


class Centred(TransformerMixin, BaseEstimator):
    """Uses statistics of its batch, as the A9 of the cases."""

    def fit(self, rows, _labels=None):
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows):
        return rows - rows.mean(axis=0)


class Rounded(Centred):
    """Looks at each number by itself."""

    def transform(self, rows):
        return np.round(rows, 1)


class Nearest(BaseEstimator):
    """A rule of one's own, which answers by rank in its batch."""

    def fit(self, rows, _labels=None):
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows):
        return (rows[:, 0] >= np.median(rows[:, 0])).astype(int)


def centred(rows):
    return rows - rows.mean(axis=0)


def filled_by_batch(rows):
    return rows.fillna(rows.mean())


def logistic():
    return LogisticRegression(max_iter=5000)


DEPENDENT = {
    "a step": (lambda: fitted(Centred(), logistic()), "Centred"),
    "a function": (lambda: fitted(FunctionTransformer(centred), logistic()), "(centred)"),
    "a library's function": (lambda: fitted(FunctionTransformer(scale), logistic()), "(scale)"),
    "NumPy's function": (
        lambda: fitted(FunctionTransformer(np.cumsum, kw_args={"axis": 0}), logistic()),
        "(cumsum)",
    ),
    "nulls filled from the batch": (
        lambda: fitted(FunctionTransformer(filled_by_batch), logistic(), rows=HOLES),
        "(filled_by_batch)",
    ),
    "a branch of columns": (
        lambda: fitted(
            make_column_transformer((Centred(), ["a", "b"]), remainder=StandardScaler()),
            logistic(),
            rows=D,
        ),
        "Centred",
    ),
    "inside of a vote": (
        lambda: VotingClassifier([("a", make_pipeline(Centred(), logistic()))]).fit(X, Y),
        "Centred",
    ),
    "inside of a search": (
        lambda: GridSearchCV(make_pipeline(Centred(), logistic()), {}, cv=2).fit(X, Y),
        "Centred",
    ),
    "a target's way back": (
        lambda: TransformedTargetRegressor(
            Ridge(), func=np.log1p, inverse_func=centred, check_inverse=False
        ).fit(X, Y),
        "FunctionTransformer",
    ),
    "all of it": (lambda: Nearest().fit(X, Y), "Nearest"),
    "a library's step": (
        lambda: fitted(NMF(2, random_state=0, tol=1e-2), logistic(), rows=X),
        "NMF",
    ),
    "last digits before thresholds": (
        lambda: fitted(PCA(3), HistGradientBoostingClassifier(max_iter=5)),
        "PCA",
    ),
}
INDEPENDENT = {
    "a step": lambda: fitted(Rounded(), logistic()),
    "a function": lambda: fitted(FunctionTransformer(np.round), logistic()),
    "element by element": lambda: fitted(FunctionTransformer(np.log1p), logistic()),
    "a branch of columns": lambda: fitted(
        make_column_transformer((Rounded(), ["a", "b"]), remainder=StandardScaler()),
        logistic(),
        rows=D,
    ),
    "a library's": lambda: fitted(PCA(3), logistic()),
    "trees behind a scaler": lambda: fitted(
        StandardScaler(), HistGradientBoostingClassifier(max_iter=5)
    ),
}


def tried(model):
    """Why its rows depend on each other, as a build finds without examples."""
    predictor = inspect_estimator(model, Declared(), [])
    return why_dependent(model, predictor, trial_inputs(model, predictor, []))


@pytest.mark.parametrize("name", DEPENDENT)
def test_code_that_uses_its_batch_is_found(name):
    make, said = DEPENDENT[name]
    model = make()

    assert said in tried(model)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_code_that_looks_at_each_row_by_itself_is_found(name):
    model = INDEPENDENT[name]()

    assert "" == tried(model)


STEPS = """
from sklearn.base import BaseEstimator, TransformerMixin

class Centred(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X - X.mean(axis=0)
"""
BATCH = """
def predict_batch(rows):
    mean = sum(row["x"] for row in rows) / len(rows)
    return [{"above": row["x"] >= mean} for row in rows]
"""
BY_ROW = "def predict(row):\n    return {'above': row['x'] >= 3}\n"
ROWS = [{"x": 1}, {"x": 4}, {"x": 9}]


@pytest.mark.parametrize(
    ("script", "examples", "manifest", "joins"),
    [
        (BATCH, ROWS, None, False),
        (BATCH.replace("mean = ", "mean = 3  #"), ROWS, None, True),
        (BATCH.replace("mean = ", "mean = 3  #"), [], None, False),
        (BATCH, ROWS, True, True),
        (BY_ROW, [], None, True),
        (BY_ROW, [], False, False),
    ],
)
def test_a_batch_function_is_called_once_a_call_unless_proved(
    folder, script, examples, manifest, joins
):
    folder.write("predict.py", script)
    if examples:
        folder.write("examples.json", examples)

    built = folder.build(format="predict.py", artifact=None, joins_calls=manifest)

    assert joins is built["report"]["joins_calls"], built
    assert ("one at a time" in built["report"]["engine_reason"]) is not joins


def test_the_build_says_whether_calls_are_joined(folder):
    """By the manifest, else by trial."""
    folder.write("steps.py", STEPS)
    sys.path.insert(0, str(folder.path))
    from steps import Centred as Imported

    model = fitted(Imported(), logistic())

    tried, believed, told = (folder.build(model, joins_calls=said) for said in (None, True, False))

    assert tried["report"]["joins_calls"] is told["report"]["joins_calls"] is False
    assert "Centred" in tried["report"]["engine_reason"]
    assert "ANSWERS_DIFFER" == believed["reason"]
    assert "beside another caller" in believed["message"]
    assert "independent_rows = false" in believed["fix"]


@pytest.mark.parametrize(("tried", "joined"), [({}, False), ({"joins_calls": True}, True)])
def test_callers_of_a_worker_share_no_batch_unless_proved(start_worker, folder, tried, joined):
    """What one gets beside others is what it gets alone; without a build's word, too."""
    folder.write("steps.py", STEPS)
    sys.path.insert(0, str(folder.path))
    from steps import Centred as Imported

    model = fitted(Imported(), logistic())
    joblib.dump(model, folder.path / "model.joblib")
    client = start_worker(folder.spec(**tried)).client()

    frames = [
        b"".join(encode_frame(i, Kind.PREDICT, encode_arrays(2, 1, [matrix(X[i : i + 1])])))
        for i in range(0, 150, 3)
    ]
    client.sock.sendall(b"".join(frames))
    answers = dict(client.answer() for _ in frames)

    alone = {i: model.predict_proba(X[i : i + 1]).tolist() for i in answers}
    assert joined is (alone != {i: answer for i, (answer,) in answers.items()})


def matrix(rows) -> Array:
    return Array(DType.FLOAT64, np.ascontiguousarray(rows, "<f8"))


def test_a_librarys_answers_by_chance_are_found():
    """They come from where a row stands in its batch."""
    model = DummyClassifier(strategy="uniform", random_state=0).fit(X, Y)

    said = tried(model)

    assert "depends on the rows" in said


@pytest.mark.parametrize(
    ("nodes", "joins"),
    [
        ([graphs.node("ReduceMean", "X axes", "m"), graphs.node("Sub", "X m", "Y")], False),
        ([graphs.node("ReduceMax", "X axes", "m"), graphs.node("Div", "X m", "Y")], False),
        ([graphs.node("CumSum", "X axis", "Y")], False),
        ([graphs.node("Tanh", "X", "Y")], True),
    ],
)
def test_a_graph_whose_rows_depend_on_each_other_is_found(folder, nodes, joins):
    """Somebody's own graph is their own code, too: callers of it share no run."""
    constants = [graphs.constant("axes", [0], "i8"), graphs.constant("axis", 0, "i8")]
    made = graphs.graph(nodes, constants)
    folder.write("model.onnx", made.SerializeToString())

    report = folder.build(format="onnx", artifact="model.onnx")["report"]

    assert joins is report["joins_calls"], report
