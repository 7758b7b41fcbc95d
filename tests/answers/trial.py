"""Trial: one random pipeline, pushed and asked through every door, beside its own answers."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import own_steps
import pandas as pd

from pushserve_runtime.signature import Signature
from pushserve_sandbox.admission.job import check
from pushserve_sandbox.build.main import build
from tests.answers.doors_asked import Pushed, json_records
from tests.answers.judging import UNJUST, WRONG, Ask, Judge
from tests.answers.models import Case, Unfit, random_case

_FEW = 3
"""Single rows that a quick trial asks for."""


@dataclass
class Outcome:
    """What became of one pipeline: `state`, and how each door answered."""

    seed: int
    state: str = ""
    """unfit, live or not live."""
    engine: str = ""
    reason: str = ""
    detail: str = ""
    cured: bool = False
    """Whether a push that was refused is live with an example."""
    doors: dict[str, int] = field(default_factory=dict)
    """How many asks ended in which way."""
    faults: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def run_trial(seed: int, folder: Path, *, quick: bool = False) -> Outcome:
    """Make, push and ask the pipeline of a seed; `folder` is empty. `quick` asks for less."""
    outcome = Outcome(seed)
    rng = np.random.default_rng(seed)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    try:
        case = random_case(rng)
    except Unfit as error:
        outcome.state, outcome.detail = "unfit", str(error)[:200]
        return outcome
    spec = _save(rng, case, folder)
    built, graph = _push(spec, folder)
    if not built["ok"]:
        outcome.state, outcome.reason = "refused", built["reason"]
        outcome.detail = f"{built['message']} | {built['fix']}"
        _write_example(case, folder)
        spec["examples"] = "examples.json"
        built, graph = _push(spec, folder)
        outcome.cured = built["ok"]
        if not built["ok"]:
            return outcome
    else:
        outcome.state = "live"
    pushed = Pushed(spec, built, graph, default=quick)
    outcome.engine = pushed.engine
    for ask in _asks(rng, case, pushed, quick=quick):
        outcome.doors[ask.verdict] = outcome.doors.get(ask.verdict, 0) + 1
        if ask.verdict in (WRONG, UNJUST):
            outcome.faults.append(f"{ask.verdict} {ask.door}: {ask.detail}")
    return outcome


def _save(rng: np.random.Generator, case: Case, folder: Path) -> dict[str, Any]:
    """Save a model as people do, with the module of their own beside it."""
    shutil.copy(own_steps.__file__, folder / "own_steps.py")
    how = rng.choice(["joblib", "compressed", "pickle", "example"], p=[0.4, 0.2, 0.3, 0.1])
    spec = {"folder": str(folder), "format": "joblib", "artifact": "model.joblib"}
    if how == "pickle":
        (folder / "model.pkl").write_bytes(pickle.dumps(case.model))
        spec |= {"format": "pickle", "artifact": "model.pkl"}
    else:
        joblib.dump(case.model, folder / "model.joblib", compress=3 if how == "compressed" else 0)
    if how == "example":
        _write_example(case, folder)
        spec["examples"] = "examples.json"
    return spec


def _write_example(case: Case, folder: Path) -> None:
    """Commit the first rows as examples, as the author would write them."""
    records = json_records(case.frame.head(3), set())
    if case.takes in ("frame", "dicts"):
        rows: list[Any] = records
    else:
        rows = [list(record.values()) for record in records]
    text = json.dumps([{"input": row} for row in rows])
    (folder / "examples.json").write_text(text)


def _push(spec: dict[str, Any], folder: Path) -> tuple[dict[str, Any], Path | None]:
    """Build as the build's job does, and check its graph as the job for that does."""
    graph = folder.parent / f"{folder.name}.onnx"
    built = build(spec, lambda _stage, _what: None, lambda _name, data: graph.write_bytes(data))
    built = json.loads(json.dumps(built))
    if not built["ok"] or built["engine"] != "onnx":
        return built, None
    checked = check(graph, Signature.from_json(built["signature"]))
    if "bounds" not in checked:
        return {**built, "engine": "worker"}, None
    return {**built, "bounds": checked["bounds"]}, graph


def _asks(rng: np.random.Generator, case: Case, pushed: Pushed, *, quick: bool) -> Iterator[Ask]:
    judge = Judge(case, pushed)
    seen, fresh = case.frame.head(20).reset_index(drop=True), case.fresh
    singles = list(_single_rows(rng, fresh))
    if quick:
        singles = [singles[i] for i in rng.permutation(len(singles))[:_FEW]]
    for frame in (seen, fresh, *singles):
        own = judge.own(frame)
        yield judge.compare("table", frame, own, pushed.table(judge.given(frame)))
        yield judge.compare("rows", frame, own, pushed.rows(judge.given(frame), rng))
    names = [feature.name for feature in pushed.signature.inputs]
    by_place = case.takes == "array" or names == fresh.columns.tolist()
    if by_place and all(dtype.kind in "fiu" for dtype in fresh.dtypes):
        matrix = fresh.to_numpy(float, na_value=np.nan)
        frame = pd.DataFrame({name: matrix[:, i].copy() for i, name in enumerate(fresh.columns)})
        yield judge.compare("tensor", frame, judge.own(frame), pushed.table(matrix))
    yield from judge.together([seen, fresh.head(1), fresh.tail(3)])


def _single_rows(rng: np.random.Generator, fresh: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows alone: as they are, with a null in each column, with a text that nothing knows."""
    yield from (fresh.iloc[[i]].reset_index(drop=True) for i in range(3))
    for name in fresh.columns:
        row = fresh.iloc[[int(rng.integers(len(fresh)))]].reset_index(drop=True)
        dtype = row[name].dtype
        if dtype.kind in "bO":
            row[name] = pd.Series([None], dtype=object)
        elif dtype.kind in "iu" and not pd.api.types.is_extension_array_dtype(dtype):
            row[name] = np.nan
        else:
            row.loc[0, name] = None
        yield row
        if pd.api.types.is_string_dtype(fresh[name].dropna()) and fresh[name].notna().any():
            row = fresh.iloc[[0]].reset_index(drop=True)
            row[name] = pd.Series(["never seen"], dtype=fresh[name].dtype)
            yield row
