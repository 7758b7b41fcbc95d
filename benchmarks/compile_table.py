"""Writes docs/compile.md: which of scikit-learn's estimators compile, and why others do not.

python benchmarks/compile_table.py [docs/compile.md] [--only "XGBoost and LightGBM"]

With --only, one section is made anew, and the others stay.
"""

from __future__ import annotations

import argparse
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import skl2onnx
import sklearn
from compile_boosters import boosted
from compile_models import FRAME, NOT_ROWS, X, Y, fitted, pipelines
from sklearn.utils import all_estimators

from pushserve_runtime.job_spec import Declared
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, compile_estimator

KINDS = {
    "classifier": "Classifiers",
    "regressor": "Regressors",
    "cluster": "Clusterers",
    "transformer": "Transformers",
    "": "Outlier detectors, densities, searches and pipelines",
}
Row = tuple[str, str, str]


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
        sections = [(title, [told(row) for row in rows()]) for title, rows in SECTIONS.items()]
        text = "\n".join(page(sections)) + "\n"
    given.path.write_text(text)
    print(f"wrote {given.path}")


def with_section(text: str, title: str) -> str:
    """Give the page with one section made anew, at its place among the others."""
    head, *rest = text.rstrip("\n").split("\n\n## ")
    sections = {item.partition(" (")[0]: item for item in rest}
    sections[title] = "\n".join(
        section(title, [told(row) for row in SECTIONS[title]()])
    ).removeprefix("\n## ")
    return "\n\n## ".join([head, *(sections[name] for name in SECTIONS if name in sections)]) + "\n"


def told(row: Row) -> Row:
    print(*row, sep=" | ", flush=True)
    return row


def page(sections: list[tuple[str, list[Row]]]) -> Iterator[str]:
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


def section(title: str, rows: list[Row]) -> Iterator[str]:
    served = [row for row in rows if row[1] != NOT_SERVED]
    count = sum(1 for row in rows if row[1].startswith("ONNX"))
    yield f"\n## {title} ({count} of {len(served)} that can be served)\n"
    if title == BOOSTERS and rows:
        versions = [f"{name} {metadata.version(name)}" for name in ("xgboost-cpu", "lightgbm")]
        yield f"With {' and '.join(versions)}.\n"
    yield "| estimator | engine | why |"
    yield "|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(item.replace("|", "\\|") for item in row) + " |"


def estimators(kind: str) -> Iterator[Row]:
    chosen = dict(all_estimators(type_filter=kind or None))
    if not kind:
        typed = [name for k in KINDS if k for name, _ in all_estimators(type_filter=k)]
        chosen = {name: cls for name, cls in chosen.items() if name not in typed}
    for name, cls in chosen.items():
        if name in NOT_ROWS:
            yield name, NOT_SERVED, NOT_ROWS[name]
            continue
        model = fitted(name, cls)
        if hasattr(model, "predict") or hasattr(model, "transform"):
            yield tried(name, model)
        else:
            yield name, NOT_SERVED, "it has no predict or transform for new rows"


def tried(name: str, model: Any) -> Row:
    """Give the row of one model."""
    try:
        predictor = inspect_estimator(model, Declared(), [])
    except Exception as error:  # noqa: BLE001 (each estimator raises what it likes)
        return name, NOT_SERVED, short(str(error))
    result = compile_estimator(model, predictor, [])
    if "too slow" in result.reason:  # on a machine that has other work
        result = compile_estimator(model, predictor, [])
    if isinstance(result, Compiled):
        numbers = "float32" if "(float32)" in result.reason else "float64"
        rest = result.reason.partition("deviation is ")[2]
        why = f"deviation {rest.partition(')')[0]}"
        lost = result.reason.partition("does not give ")[2].partition(", which engine")[0]
        return name, f"ONNX, {numbers}", why + (f"; without {lost}" if lost else "")
    return name, "worker", short(result.reason)


def short(reason: str) -> str:
    """Leave out the row that differs, and where an error comes from."""
    reason = re.sub(r"; the first, .*", "", reason, flags=re.DOTALL)
    reason = re.sub(r"^\w+: (?=the )|\[ONNXRuntimeError\] : \d+ : \w+ : ", "", reason)
    return reason if len(reason) <= 120 else f"{reason[:119].rstrip()}…"


def boosters() -> Iterator[Row]:
    if util.find_spec("xgboost") and util.find_spec("lightgbm"):
        yield from (tried(name, model) for name, model in boosted(X, Y, FRAME))


BOOSTERS = "XGBoost and LightGBM"
INTRODUCTION = """
When a model is built, it is converted to an ONNX graph, in float64 where the operators allow
it, else in float32. The graph is then compared with scikit-learn's own answers: on the
repository's examples, and on 3,000 to 7,000 rows made for this model. These lie in and beyond
the ranges that the model shows (scaler statistics, categories, edges), on the thresholds of its
trees and bins and one float to either side (through the steps before them too), on its centres and
support vectors and half way between, on whole numbers, at offsets of 1e8, up to 1e300, and at
zeros, denormals and missing values. Labels must be equal; a number may be off by 1e-6 of itself or,
near zero, of the output's usual size (at most 1), in float32 by a quarter of that. Of a classifier,
the scores behind the label are compared too, asked for or not.

Where thresholds (trees, bins, encoders) stand behind other steps, what these hand on must have
scikit-learn's own bits, for rows alone and in batches. So PCA or PowerTransformer before histogram
boosting is served by a worker, StandardScaler is not. A row that scikit-learn refuses, such as an
unknown category or a value that float32 cannot hold before trees, is refused by the graph too.
Classes of your own, also in a pipeline, and methods set on an instance stay Python.

A model that passes is served as that graph, in the server's process, and no code of the
repository runs. Any other is served by scikit-learn in a worker; `pushserve get` says why.
`engine = "worker"` in `pushserve.toml` skips all this, and `engine = "onnx"` refuses a push that
does not pass. Outputs that are not given by default (`decision_function`, `apply`, …) and that
the graph lacks are left out; the reason names them. What the comparison may take is counted in
processor time (5 s for the estimator, 8 s for the graph), so a busy server decides as an idle one.

Where they are installed (`pushserve[boosting]`), XGBoost's and LightGBM's models are compared with
these packages' own answers in the same way. XGBoost adds leaves in float32 and so does its graph,
to the same bits; what it makes of the sums by exp may be one float32 off.
"""
NOT_SERVED = "not served"
SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "Pipelines": lambda: (tried(name, model) for name, model in pipelines()),
    BOOSTERS: boosters,
    **{
        title: (lambda kind=kind: estimators(kind))  # type: ignore[misc]
        for kind, title in KINDS.items()
    },
}

if __name__ == "__main__":
    main()
