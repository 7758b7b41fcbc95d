"""The gate by a whole server: what a new version answers in its worker, at every door."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served

STEPS = """
from sklearn.base import BaseEstimator, TransformerMixin

class Step(TransformerMixin, BaseEstimator):
    def fit(self, rows, labels=None):
        self.n_features_in_ = rows.shape[1]
        return self

class Lazy(Step):
    "Learns from the first rows that its process sees, and does not save it."
    def transform(self, rows):
        if not hasattr(self, "mean_"):
            self.mean_ = rows.mean(axis=0)
        return rows - self.mean_

    def __getstate__(self):
        return {key: value for key, value in super().__getstate__().items() if key != "mean_"}

class Honest(Step):
    def transform(self, rows):
        return rows * 2
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module of people's own steps."""
    folder: Path = tmp_path_factory.mktemp("steps")
    (folder / "gate_steps.py").write_text(STEPS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("gate_steps")
    sys.path.remove(str(folder))


def test_a_model_that_answers_otherwise_in_its_worker_does_not_go_live(
    served: Served, hub: GitHost, steps: ModuleType
):
    """The good version before it goes on answering; the fix that is named helps."""
    frame, labels = models.iris_frame(), models.iris_forest().predict(models.iris_frame())

    def files(step: str) -> dict[str, bytes | str]:
        made = make_pipeline(getattr(steps, step)(), LogisticRegression(max_iter=5000))
        model = models.dumped(made.fit(frame.to_numpy(), labels))
        return {"model.joblib": model, "gate_steps.py": STEPS}

    repo = hub.create("gate-lazy")
    repo.commit(files("Honest"))
    served.ready(repo.url, model="gate-lazy")
    repo.commit(files("Lazy"))

    error = served.failed(repo.url, model="gate-lazy")

    assert "ANSWERS_DIFFER" == error.reason, error
    assert "its build" in error.message
    assert "asked by rows" in error.message
    assert 1 == served.predict("gate-lazy", [[5.1, 3.5, 1.4, 0.2]]).version

    repo.commit({"pushserve.toml": "repeatable = false\n"})
    assert 3 == served.ready(repo.url, model="gate-lazy").version


def test_a_scaler_beside_the_model_is_said_to_be_unused(served: Served, hub: GitHost):
    repo = hub.create("gate-scaler")
    repo.commit({"model.joblib": models.dumped(models.iris_forest()), "scaler.joblib": b"x"})
    served.ready(repo.url, model="gate-scaler")

    version = served.stub.Get(pb.GetRequest(model="gate-scaler"), timeout=10).version

    assert "scaler.joblib: not used, as model.joblib is served alone" in version.engine_reason
