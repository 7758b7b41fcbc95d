"""Writes docs/compile.md: which of scikit-learn's estimators compile, and why others do not.

python benchmarks/compile_table.py [docs/compile.md] [--only "XGBoost and LightGBM"]

With --only, one section is made anew, and the others stay.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import skl2onnx
import sklearn
from compile_boosters import boosted
from sklearn.base import clone, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes IterativeImputer importable)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils import all_estimators

from pushserve_sandbox.compiling.compile import Compiled, compile_estimator
from pushserve_sandbox.inspection import inspect_estimator
from pushserve_sandbox.spec import Declared

X, Y = make_classification(300, 6, n_informative=6, n_redundant=0, n_classes=3, random_state=0)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
FRAME = pd.DataFrame(
    {
        "size": HOLES[:, 0],
        "age": np.round(20 * np.abs(X[:, 1])),
        "colour": np.array(["red", "blue", None], object)[Y],
        "shop": np.array(["n", "s"])[(X[:, 2] > 0).astype(int)],
    }
)
TEXTS = np.array(["good day", "bad day sir", "a good night"], object)[Y]
SLOW_NAMES = {"TSNE", "MDS"}
KINDS = {
    "classifier": "Classifiers",
    "regressor": "Regressors",
    "cluster": "Clusterers",
    "transformer": "Transformers",
}


def main() -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("path", nargs="?", type=Path, default=Path("docs/compile.md"))
    parser.add_argument("--only", choices=SECTIONS)
    given = parser.parse_args()
    if given.only:
        text = with_section(given.path.read_text(), given.only)
    else:
        sections = [(title, list(rows())) for title, rows in SECTIONS.items()]
        text = "\n".join(page(sections)) + "\n"
    given.path.write_text(text)
    print(f"wrote {given.path}")


def with_section(text: str, title: str) -> str:
    """Give the page with one section made anew, at its place among the others."""
    head, *rest = text.rstrip("\n").split("\n\n## ")
    sections = {item.partition(" (")[0]: item for item in rest}
    sections[title] = "\n".join(section(title, list(SECTIONS[title]()))).removeprefix("\n## ")
    return "\n\n## ".join([head, *(sections[name] for name in SECTIONS if name in sections)]) + "\n"


def page(sections: list[tuple[str, list[tuple[str, str, str]]]]) -> Iterator[str]:
    yield "# What compiles"
    yield ""
    yield INTRODUCTION.strip()
    yield ""
    yield (
        f"Made by `python benchmarks/compile_table.py` with scikit-learn {sklearn.__version__}, "
        f"skl2onnx {skl2onnx.__version__}, ONNX Runtime {onnxruntime.__version__} and Python "
        f"{platform.python_version()}, from models fitted on 300 rows; another model of the same "
        "class may fare otherwise, and its version's `engine_reason` says how."
    )
    for title, rows in sections:
        yield from section(title, rows)


def section(title: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    count = sum(1 for row in rows if row[1].startswith("ONNX"))
    yield f"\n## {title} ({count} of {len(rows)})\n"
    if title == BOOSTERS and rows:
        versions = [f"{name} {metadata.version(name)}" for name in ("xgboost-cpu", "lightgbm")]
        yield f"With {' and '.join(versions)}.\n"
    yield "| estimator | engine | why |"
    yield "|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(item.replace("|", "\\|") for item in row) + " |"


def estimators(kind: str) -> Iterator[tuple[str, str, str]]:
    for name, cls in all_estimators(type_filter=kind):
        if name in SLOW_NAMES:
            continue
        try:
            model = fitted(cls())
        except Exception as error:  # noqa: BLE001 (each estimator raises what it likes)
            yield name, "not tried", f"not fitted with defaults: {type(error).__name__}"
            continue
        yield tried(name, model)


def fitted(model: Any) -> Any:
    """Fit on what the estimator takes: continuous, positive, or of classes."""
    target = X[:, 0] + Y if is_regressor(model) else Y
    attempts = [(X, target), (np.abs(X), np.abs(target)), (np.abs(X[:, :1]), np.abs(target))]
    attempts += [(TEXTS, Y)] if hasattr(model, "vocabulary") else []
    attempts += [(np.abs(X), np.c_[target, target]), (np.abs(X), Y > 0)]
    error: Exception | None = None
    for data, wanted in attempts:
        try:
            return clone(model).fit(data, wanted)
        except Exception as raised:  # noqa: BLE001 (as above)
            error = error or raised
    assert error is not None
    raise error


def tried(name: str, model: Any) -> tuple[str, str, str]:
    """Give the row of one model."""
    try:
        predictor = inspect_estimator(model, Declared(), [])
    except Exception as error:  # noqa: BLE001 (as above)
        return name, "not served", str(error)[:160]
    result = compile_estimator(model, predictor, [])
    if isinstance(result, Compiled):
        numbers = "float32" if "(float32)" in result.reason else "float64"
        rest = result.reason.partition("deviation is ")[2]
        why = f"deviation {rest.partition(')')[0]}"
        lost = result.reason.partition("does not give ")[2].partition(", which engine")[0]
        return name, f"ONNX, {numbers}", why + (f"; without {lost}" if lost else "")
    return name, "worker", result.reason[:200]


def pipelines() -> Iterator[tuple[str, str, str]]:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    filled = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    tables: dict[str, tuple[Any, Any]] = {
        "one hot + LogisticRegression": (
            OneHotEncoder(handle_unknown="ignore"),
            LogisticRegression(),
        ),
        "imputer, one hot + LogisticRegression": (filled, LogisticRegression()),
        "imputer, one hot + RandomForestClassifier": (filled, RandomForestClassifier(20)),
        "ordinal + HistGradientBoostingClassifier": (
            ordinal,
            HistGradientBoostingClassifier(max_iter=20),
        ),
        "target encoder + Ridge": (TargetEncoder(), Ridge()),
    }
    for name, (texts, last) in tables.items():
        columns = make_column_transformer((numbers, ["size", "age"]), (texts, ["colour", "shop"]))
        yield tried(f"ColumnTransformer: {name}", fitted_on(columns, last, FRAME))
    steps: dict[str, Callable[[], Any]] = {
        "StandardScaler + RandomForestClassifier": StandardScaler,
        "PolynomialFeatures + RandomForestClassifier": lambda: PolynomialFeatures(2),
        "KBinsDiscretizer + RandomForestClassifier": lambda: KBinsDiscretizer(encode="ordinal"),
        "union of StandardScaler and SimpleImputer": lambda: make_union(
            StandardScaler(), SimpleImputer()
        ),
    }
    for name, step in steps.items():
        yield tried(name, fitted_on(step(), RandomForestClassifier(20, random_state=0), X))
    for imputer in (SimpleImputer(add_indicator=True), KNNImputer(), IterativeImputer()):
        name = f"{type(imputer).__name__} + LogisticRegression"
        yield tried(name, fitted_on(imputer, LogisticRegression(), HOLES))
    for vectorizer in (CountVectorizer(), TfidfVectorizer(), HashingVectorizer(n_features=64)):
        name = f"{type(vectorizer).__name__} + LogisticRegression"
        yield tried(name, fitted_on(vectorizer, LogisticRegression(), TEXTS))


def boosters() -> Iterator[tuple[str, str, str]]:
    if util.find_spec("xgboost") and util.find_spec("lightgbm"):
        yield from (tried(name, model) for name, model in boosted(X, Y, FRAME))


def fitted_on(first: Any, last: Any, data: Any) -> Any:
    return make_pipeline(first, last).fit(data, Y.astype(float) if is_regressor(last) else Y)


BOOSTERS = "XGBoost and LightGBM"
INTRODUCTION = """
When a model is built, it is converted to an ONNX graph, in float64 where the operators allow
it, else in float32. The graph is then compared with scikit-learn's own answers: on the
repository's examples, and on 3,000 to 7,000 rows made for this model. These lie in and beyond
the ranges that the model shows (scaler statistics, categories, edges), on the thresholds of its
trees and one float to either side (through the steps before the trees too), on whole numbers,
at offsets of 1e8, and at zeros, denormals and missing values. Labels must be equal; a number
may be off by 1e-6 of itself or, near zero, of the output's usual size (at most 1). Of a
classifier, the scores behind the label are compared too, asked for or not.

A model that passes is served as that graph, in the server's process, and no code of the
repository runs. Any other is served by scikit-learn in a worker; `pushserve get` says why.
`engine = "worker"` in `pushserve.toml` skips all this, and `engine = "onnx"` refuses a push that
does not pass. Outputs that are not given by default (`decision_function`, `apply`, …) and that
the graph lacks are left out; the reason names them. A row that scikit-learn refuses, such as a
value that float32 cannot hold before trees, is not compared.

Where they are installed (`pushserve[boosting]`), XGBoost's and LightGBM's models are compared with
these packages' own answers in the same way. XGBoost adds leaves in float32 and so does its graph,
to the same bits; what it makes of the sums by exp may be one float32 off.
"""
SECTIONS: dict[str, Callable[[], Iterator[tuple[str, str, str]]]] = {
    "Pipelines": pipelines,
    BOOSTERS: boosters,
    **{
        title: (lambda kind=kind: estimators(kind))  # type: ignore[misc]
        for kind, title in KINDS.items()
    },
}

if __name__ == "__main__":
    main()
