"""Trains and saves models in the environment that it runs in, with that environment's own answers.

    python -I -S train_models.py TARGET FOLDER…

FOLDERs hold the packages. TARGET gets a folder for each model: model.pkl, the inputs
(matrix.npy, or a file for each column), and METHOD.ROWS.npy with what each method gave.
"""

import json
import pickle
import sys
from pathlib import Path

sys.path += sys.argv[2:]

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "apply",
)
SIZES = (1, 40, 300)
"""One row, a batch of few and one of many rows: fast paths may go another way in each."""

draw = np.random.RandomState(0)
X = draw.normal(size=(300, 4))
names = np.array(["ash", "birch", "cedar"])[np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])]
weights = draw.uniform(0.1, 2.0, 300)
frame = pd.DataFrame(
    {
        "size": np.where(X[:, 0] > 1.5, np.nan, X[:, 0]),
        "colour": draw.choice(["red", "green", "blue"], 300).astype(object),
        "age": draw.randint(20, 70, 300).astype(float),
    }
)
frame.loc[X[:, 1] > 1.5, "colour"] = np.nan
texts = [" ".join(draw.choice(["good", "bad", "old", "new", "red"], 5)) for _ in range(300)]
columns = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
    ]
)
sums = X @ [1.0, -2.0, 0.5, 0.0]

MODELS = {
    # A leaf's samples weigh something other than 1: fractions are not what old trees hold.
    "forest": RandomForestClassifier(20, class_weight="balanced", random_state=0).fit(X, names),
    "tree": DecisionTreeClassifier(max_depth=5, random_state=0).fit(X, names, weights),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()).fit(X, names),
    "clusters": KMeans(3, n_init=2, random_state=0).fit(X),
    "boosted": HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(X, names),
    "bayes": GaussianNB().fit(X, names),
    "regressor": make_pipeline(StandardScaler(), Ridge()).fit(X, sums),
    "steps": Pipeline([("scale", StandardScaler()), ("last", "passthrough")]).fit(X),
    "columns": make_pipeline(columns, LogisticRegression()).fit(frame, names),
    "texts": make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, names),
}
INPUTS = {"columns": frame, "texts": texts}


def save(folder, model, data):
    folder.mkdir(parents=True)
    pickled = pickle.dumps(model)
    (folder / "model.pkl").write_bytes(pickled)
    # Arrays may lie in another order in memory when they are loaded, and BLAS sum in another one.
    model = pickle.loads(pickled)
    save_inputs(folder, data)
    for method in METHODS:
        if hasattr(model, method):
            for size in SIZES:
                result = getattr(model, method)(data[:size])
                np.save(folder / f"{method}.{size}.npy", np.asarray(result), allow_pickle=False)


def save_inputs(folder, data):
    if isinstance(data, np.ndarray):
        np.save(folder / "matrix.npy", data)
        return
    table = data if isinstance(data, pd.DataFrame) else pd.DataFrame({"text": data})
    for name in table:
        values = table[name].tolist()
        (folder / f"{name}.column.json").write_text(json.dumps(values))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with np.errstate(divide="ignore"):  # the logarithm of a probability may be -inf
        for name, model in MODELS.items():
            save(target / name, model, INPUTS.get(name, X))
