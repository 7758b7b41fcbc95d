"""The client and the command, by a whole server: people's own data, and what they type next."""

import asyncio
import json
import os
import shlex
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pushserve_client import AsyncClient, BadData, Client
from tests.fixtures import models
from tests.fixtures.served import BIN, PROGRAM

RNG = np.random.default_rng(0)
NUMBERED = pd.DataFrame(RNG.normal(size=(60, 3)))
NUMBERED_MODEL = LogisticRegression().fit(NUMBERED, NUMBERED[0] > NUMBERED[2])
TEXTS = ["good and fine", "fine", "bad", "bad and poor", "good", "poor"] * 5
TEXT_MODEL = make_pipeline(CountVectorizer(), LogisticRegression()).fit(
    TEXTS, ["bad" in t or "poor" in t for t in TEXTS]
)


@pytest.fixture
def client(served):
    with Client(served.address, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def push(served, hub):
    """Take a model live under a name; gives its repository's URL."""

    def go_live(name: str, model: object) -> str:
        repo = hub.create(name)
        repo.commit({"model.joblib": models.dumped(model)})
        served.ready(repo.url)
        return repo.url

    return go_live


def test_a_frame_with_numbered_columns(client, push):
    """The very frame that the model was fitted on."""
    push("numbered", NUMBERED_MODEL)

    for frame in (NUMBERED, NUMBERED.to_dict("list"), NUMBERED.to_dict("records")):
        expected = NUMBERED_MODEL.predict(NUMBERED).tolist()
        assert expected == client.predict("numbered", frame).label.tolist()


def test_texts_alone(client, push):
    push("words", TEXT_MODEL)

    for texts in (TEXTS[:4], np.array(TEXTS[:4]), pd.Series(TEXTS[:4])):
        expected = TEXT_MODEL.predict(TEXTS[:4]).tolist()
        assert expected == client.predict("words", texts).label.tolist()
    (one,) = client.predict_stream("words", [["good"]])
    assert [False] == one.label.tolist()


def test_columns_in_another_order(client, push):
    """A structured array, rows with names, and a frame, all turned round."""
    push("turned", models.iris_forest())
    frame = models.iris_frame().iloc[[0, 60, 140]]
    turned = frame[frame.columns[::-1]]
    expected = models.iris_forest().predict(frame).tolist()

    rows = [row for _, row in turned.iterrows()]
    for inputs in (turned, turned.to_records(index=False), rows, turned.to_dict("list")):
        assert expected == client.predict("turned", inputs).label.tolist()


def test_info(client):
    assert sklearn.__version__ == client.info().packages["scikit-learn"]


def run(served, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env=os.environ | {"PUSHSERVE_SERVER": served.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_is_printed_after_live_can_be_typed(served, push):
    """As it stands: by the command, and by grpcurl, which asks the server for the contract."""
    url = push("copied", models.iris_forest())

    shown = run(served, PROGRAM, "register", url).stdout

    command, grpcurl = map(shlex.split, shown.partition("to call it:\n")[2].splitlines())
    predicted = run(served, PROGRAM, *command[1:], "--format", "json")
    assert 1 == len(json.loads(predicted.stdout)["outputs"]["label"]), predicted.stderr
    called = run(served, BIN / "grpcurl", *grpcurl[1:])
    assert "label" in [output["name"] for output in json.loads(called.stdout)["outputs"]]


def test_a_first_push_that_failed_is_found_by_its_repository(served, hub):
    """Nothing has a name yet; the repository may be spelt as one likes."""
    repo = hub.create("nothing-yet")
    repo.commit({"README.md": "soon"})
    assert 1 == run(served, PROGRAM, "register", repo.url).returncode

    shown = run(served, PROGRAM, "deployments", "--source", repo.url.removesuffix(".git"))
    (line,) = shown.stdout.splitlines()[1:]
    assert "(nothing-yet)" == line.split("\t")[1]
    assert "ARTIFACT_MISSING" in line
    assert "" == run(served, PROGRAM, "deployments", "--source", f"{repo.url}x").stdout


BESIDE = {
    "when": pd.to_datetime(["2026-01-31", None, "2026-02-01"]),
    "took": pd.to_timedelta([1, 2, 3], unit="s"),
    "month": pd.period_range("2026-01", periods=3, freq="M"),
    "tags": [["a"], [], ["b", "c"]],
    "born": [date(2000, 1, 1), None, date(2001, 1, 1)],
    "raw": [b"a", b"b", None],
    "kind": pd.Categorical(pd.to_datetime(["2026-01-31", "2026-01-31", "2026-02-01"])),
}
"""Columns that no message can hold."""


@pytest.fixture(scope="module")
def beside(push) -> tuple[pd.DataFrame, LogisticRegression]:
    """A frame with all of them, of which a live model, "beside", uses two others."""
    frame = pd.DataFrame({"age": [1.0, 5.0, 9.0], "fare": [2.0, 1.0, 0.0], **BESIDE})
    chosen = make_column_transformer((StandardScaler(), ["age", "fare"]))
    model = make_pipeline(chosen, LogisticRegression()).fit(frame, [0, 0, 1])
    push("beside", model)
    return frame, model


@pytest.mark.parametrize("form", ["frame", "columns", "records", "row"])
def test_columns_that_cannot_be_sent_and_are_not_used(client, beside, form):
    frame, model = beside
    given = {
        "frame": frame,
        "columns": dict(frame.items()),
        "records": frame.to_dict("records"),
        "row": frame.iloc[0].to_dict(),
    }
    expected = model.predict(frame[:1] if form == "row" else frame).tolist()

    assert expected == client.predict("beside", given[form]).label.tolist()
    assert [expected] == [
        one.label.tolist() for one in client.predict_stream("beside", [given[form]])
    ]


def test_columns_that_cannot_be_sent_and_are_not_used_of_the_async_client(served, beside):
    frame, model = beside

    async def ask():
        async with AsyncClient(served.address) as client:
            return (await client.predict("beside", frame)).label.tolist()

    assert model.predict(frame).tolist() == asyncio.run(ask())


@pytest.mark.parametrize("name", ["age", "colour"])
def test_a_column_that_cannot_be_sent_and_is_used_or_not_known(client, beside, name):
    """The error names the column that matters, not the others."""
    frame = beside[0].assign(**{name: BESIDE["when"]})

    with pytest.raises(BadData, match=f"column '{name}' holds datetime64.*send a number or text"):
        client.predict("beside", frame)


def test_a_frame_of_nothing_that_can_be_sent(client, beside):
    with pytest.raises(BadData, match="column 'when' holds datetime64"):
        client.predict("beside", beside[0][["when", "tags"]])
