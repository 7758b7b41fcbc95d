"""Models that compile are served as graphs, by a whole server, with scikit-learn's answers."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import Client
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served, until
from tests.fixtures.shares import share

IRIS = load_iris()
X, NAMES = IRIS.data, IRIS.target_names[IRIS.target]
MANIFEST = "pushserve.toml"

MODELS = {
    "c-forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20)),
    "c-histograms": lambda: HistGradientBoostingClassifier(max_iter=5),
    "c-logistic": lambda: LogisticRegression(max_iter=1000),
}


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


def version(served: Served, model: str) -> pb.Version:
    return served.stub.Get(pb.GetRequest(model=model), timeout=20).version


@pytest.mark.parametrize("name", share(MODELS))
def test_answers_come_from_a_graph(served: Served, hub: GitHost, client: Client, name: str):
    model = MODELS[name]().fit(X, NAMES)
    repo = hub.create(name)
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)

    found = version(served, name)
    answer = client.predict(name, X)

    assert pb.ENGINE_ONNX == found.engine
    assert "compared with scikit-learn on" in found.engine_reason
    assert model.predict(X).tolist() == answer["label"].tolist()
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), 1e-12, 1e-15)


def test_no_process_of_a_repository_serves_a_graph(served: Served, hub: GitHost):
    """The build's child ends, and no worker is started."""
    before = set(served.children())
    repo = hub.create("c-alone")
    repo.commit({"model.joblib": models.dumped(LogisticRegression(max_iter=500).fit(X, NAMES))})
    served.ready(repo.url)

    assert until(lambda: set(served.children()) <= before)
    assert served.predict("c-alone", [[5.1, 3.5, 1.4, 0.2]]).outputs
    assert list((served.data_dir / "bundles").glob("*/compiled.onnx"))


def test_a_table_with_missing_texts(served: Served, hub: GitHost, client: Client):
    frame = pd.DataFrame(
        {"size": [1.0, np.nan, 3.0, 4.0] * 10, "colour": ["red", "blue", None, "red"] * 10}
    )
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, ["no", "yes", "yes", "no"] * 10)
    repo = hub.create("c-table")
    repo.commit({"model.joblib": models.dumped(model)})
    served.ready(repo.url)

    answer = client.predict("c-table", frame[:4])

    assert pb.ENGINE_ONNX == version(served, "c-table").engine
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(frame[:4]), rtol=1e-12)


def test_the_manifest_chooses_the_engine(served: Served, hub: GitHost):
    model = models.dumped(LogisticRegression(max_iter=500).fit(X, NAMES))
    repo = hub.create("c-worker")
    repo.commit({"model.joblib": model, MANIFEST: 'engine = "worker"'})
    served.ready(repo.url)

    found = version(served, "c-worker")

    assert pb.ENGINE_WORKER == found.engine
    assert "the manifest says so" in found.engine_reason
    assert "decision_function" in [output.name for output in found.signature.outputs]


@pytest.mark.long
def test_an_engine_that_cannot_be_says_why(served: Served, hub: GitHost):
    repo = hub.create("c-neighbours")
    content = models.dumped(KNeighborsClassifier().fit(X, NAMES))
    repo.commit({"model.joblib": content, MANIFEST: 'engine = "onnx"'})

    error = served.failed(repo.url)

    assert "ENGINE_NOT_POSSIBLE" == error.reason
    assert "control flow: Scan" in error.message


def test_what_does_not_compile_says_why(served: Served, hub: GitHost):
    repo = hub.create("c-near")
    repo.commit({"model.joblib": models.dumped(KNeighborsClassifier().fit(X, NAMES))})
    served.ready(repo.url)

    found = version(served, "c-near")

    assert pb.ENGINE_WORKER == found.engine
    assert "not compiled to ONNX: its graph would need control flow: Scan" in found.engine_reason
