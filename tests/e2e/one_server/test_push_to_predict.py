"""A signed push event takes a model live, and every client gets scikit-learn's own numbers."""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sklearn.datasets import load_diabetes, load_wine

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import Client, Prediction
from pushserve_client.types import Engine
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.github import deliver, old_event, push_event
from tests.fixtures.served import BIN, Served

EXAMPLES = Path(__file__).parents[3] / "examples"
SERVICE = "pushserve.v1.ModelService"


@pytest.fixture(scope="module")
def webhook(served: Served) -> str:
    return served.webhook()


@pytest.fixture(scope="module")
def iris(served: Served, hub: GitHost, webhook: str) -> str:
    """A forest that a push event took live; gives the commit."""
    repo = hub.create("iris")
    commit = repo.commit({"model.joblib": models.dumped(models.iris_forest())})
    status, answer = deliver(webhook, push_event(repo, after=commit))
    assert 202 == status, answer
    deployment = served.follow(answer["deployment"])
    assert pb.DEPLOYMENT_STATE_READY == deployment.state, deployment
    return commit


@pytest.fixture
def client(served: Served):
    with Client(served.address) as client:
        yield client


def grpcurl(served: Served, *arguments: str) -> str:
    done = subprocess.run(
        [BIN / "grpcurl", "-plaintext", *arguments], capture_output=True, check=False, timeout=30
    )
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout.decode()


def rows() -> pd.DataFrame:
    return models.iris_frame().iloc[[0, 60, 140]]


def check_iris(label: object, probabilities: object) -> None:
    forest = models.iris_forest()
    assert forest.predict(rows()).tolist() == np.asarray(label).tolist()
    assert np.array_equal(forest.predict_proba(rows()), np.asarray(probabilities).reshape(3, 3))


def test_grpcurl(served: Served, iris: str):
    request = {"model": "iris", "rows": rows().to_dict("records")}
    answer = json.loads(
        grpcurl(served, "-d", json.dumps(request), served.address, f"{SERVICE}/Predict")
    )
    label, probabilities = answer["outputs"]
    check_iris(label["strings"]["values"], probabilities["doubles"]["values"])
    assert ["setosa", "versicolor", "virginica"] == probabilities["classes"]
    assert ("iris", 1, iris) == (answer["model"], answer["version"], answer["commit"])


def test_reflection(served: Served):
    services = grpcurl(served, served.address, "list").split()
    assert {SERVICE, "grpc.health.v1.Health"} <= set(services)
    methods = grpcurl(served, served.address, "list", SERVICE).split()
    declared = pb.DESCRIPTOR.services_by_name["ModelService"].methods
    assert sorted(method.full_name for method in declared) == methods
    assert "rpc Predict (" in grpcurl(served, served.address, "describe", f"{SERVICE}.Predict")


@pytest.mark.parametrize(
    "given",
    [
        lambda: rows().to_numpy(),
        rows,
        lambda: rows().to_dict("records"),
        lambda: rows()[rows().columns[::-1]],
        lambda: rows().to_numpy().tolist(),
        lambda: {name: rows()[name].tolist() for name in rows()},
    ],
    ids=["array", "frame", "dicts", "frame in another order", "lists", "columns"],
)
def test_python_client(client: Client, iris: str, given):
    answer = client.predict("iris", given())
    check_iris(answer.label, answer.probabilities)
    assert ("setosa", "versicolor", "virginica") == answer.classes
    assert (1, iris) == (answer.version, answer.commit)


def tensor(**more: object) -> pb.PredictRequest:
    return pb.PredictRequest(model="iris", tensor=pb.Tensor(**more))


def as_table() -> pb.PredictRequest:
    columns = [pb.Column(name=name, doubles=pb.Doubles(values=rows()[name])) for name in rows()]
    return pb.PredictRequest(model="iris", table=pb.Table(columns=columns))


def as_rows() -> pb.PredictRequest:
    request = pb.PredictRequest(model="iris")
    for record in rows().to_dict("records"):
        request.rows.add().update(record)
    return request


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: tensor(shape=[3, 4], values=rows().to_numpy().ravel()),
        lambda: tensor(values=rows().to_numpy().ravel()),
        lambda: tensor(shape=[3, 4], raw=rows().to_numpy().astype("<f8").tobytes()),
        as_table,
        as_rows,
    ],
    ids=["values", "no shape", "raw", "table", "rows"],
)
def test_stub(served: Served, iris: str, request_of):
    answer = served.stub.Predict(request_of(), timeout=20)
    label, probabilities = answer.outputs
    assert ([3], [3, 3]) == (list(label.shape), list(probabilities.shape))
    check_iris(list(label.strings.values), list(probabilities.doubles.values))


def test_float32_is_taken_as_it_is(served: Served, iris: str):
    """A forest compares in float32, so that its answers to float32 are exact too."""
    given = rows().to_numpy().astype("<f4")
    answer = served.stub.Predict(
        tensor(shape=[3, 4], raw=given.tobytes(), dtype=pb.DATA_TYPE_FLOAT32), timeout=20
    )
    forest = models.iris_forest()
    wide = pd.DataFrame(given.astype(float), columns=rows().columns)
    assert forest.predict_proba(wide).ravel().tolist() == list(answer.outputs[1].doubles.values)


def test_outputs_by_name_in_the_order_asked_for(served: Served, iris: str):
    request = as_rows()
    request.outputs.extend(["probabilities", "label"])
    answer = served.stub.Predict(request, timeout=20)
    assert ["probabilities", "label"] == [output.name for output in answer.outputs]


def test_health(served: Served, iris: str):
    health = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE, "iris"):
        reply = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert health_pb2.HealthCheckResponse.SERVING == reply.status
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="roses"), timeout=10)
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


def test_get_shows_the_signature(client: Client, iris: str):
    shown = client.get("iris").version
    assert list(rows()) == [feature.name for feature in shown.signature.inputs]
    assert iris == shown.commit


def same(expected: np.ndarray, given: np.ndarray, answer: Prediction) -> bool:
    """To the bit where scikit-learn itself ran; a graph adds up in another order."""
    if answer.engine == Engine.WORKER:
        return np.array_equal(expected, given)
    return np.allclose(expected, given, rtol=1e-12, atol=0)


def test_numbers_texts_and_missing_values(served: Served, hub: GitHost, client: Client):
    repo = hub.create("risk")
    repo.commit(models.risk_files("risk"))
    served.ready(repo.url)
    table = models.risk_table().iloc[:20]
    pipeline = models.risk_pipeline()

    answer = client.predict("risk", table)
    assert pipeline.predict(table).tolist() == answer.label.tolist()
    assert same(pipeline.predict_proba(table), answer.probabilities, answer)

    records = json.loads(table.to_json(orient="records"))
    assert None in [record["bp"] for record in records]
    assert same(
        pipeline.predict_proba(table), client.predict("risk", records).probabilities, answer
    )


def test_a_regressor_on_a_source_that_may_send_data_only(
    served: Served, hub: GitHost, client: Client
):
    repo = hub.create("data-diabetes")
    repo.commit(models.diabetes_files())
    served.ready(repo.url, model="diabetes")
    features = load_diabetes().data[:5]
    answer = client.predict("diabetes", features)
    assert same(models.diabetes_ridge().predict(features), answer.value, answer)


def test_an_onnx_graph(served: Served, hub: GitHost, client: Client):
    repo = hub.create("data-doubling")
    repo.commit(models.doubling_files())
    served.ready(repo.url)
    answer = client.predict("data-doubling", [[1.0, 2.5], [-3.0, 0.25]])
    assert [[2.0, 5.0], [-6.0, 0.5]] == answer["doubled"].tolist()
    assert "onnx" == str(answer.engine)


def test_the_old_platform_unchanged(served: Served, hub: GitHost, webhook: str, client: Client):
    """Its repository, and its push event with nothing but a ref and names."""
    repo = hub.create("wine")
    commit = repo.commit(models.wine_files())
    status, answer = deliver(webhook, old_event(repo))
    assert 202 == status, answer
    assert pb.DEPLOYMENT_STATE_READY == served.follow(answer["deployment"]).state

    features = load_wine().data[100].tolist()
    chances = models.wine_model().predict_proba([features])[0]
    reply = client.predict("wine", [{"features": features}])
    assert commit == reply.commit
    expected = {"cultivar": "Grignolino", "confidence": float(chances[1])}
    assert [expected] == list(reply.rows)


def test_a_badly_signed_event_starts_nothing(served: Served, hub: GitHost, webhook: str):
    repo = hub.create("forged")
    repo.commit(models.answering_files("forged"))
    status, _ = deliver(webhook, push_event(repo), secret="another")
    assert 401 == status
    listed = served.stub.ListDeployments(pb.ListDeploymentsRequest(page_size=1000), timeout=10)
    assert repo.url not in {deployment.source for deployment in listed.deployments}


def trained(name: str, folder: Path) -> Path:
    """Train an example where a user would; give the folder."""
    for file in (EXAMPLES / name).iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    subprocess.run(
        [sys.executable, "train.py"], cwd=folder, check=True, capture_output=True, timeout=100
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("iris", marks=pytest.mark.long),  # test_getting_started.py takes it live too
        "diabetes-risk",
        pytest.param("diabetes-progression", marks=pytest.mark.long),
        "wine-legacy",
    ],
)
def test_each_example_goes_live_and_answers(
    served: Served, hub: GitHost, client: Client, tmp_path: Path, name: str
):
    folder = trained(name, tmp_path)
    repo = hub.create(f"example-{name}")
    repo.commit({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()})
    deployment = served.ready(repo.url, model=None if name == "diabetes-risk" else f"x-{name}")

    version = client.get(deployment.model).version
    file = "test_data.json" if name == "wine-legacy" else "examples.json"
    examples = json.loads((folder / file).read_text())
    match name:
        case "wine-legacy":
            answer = client.predict(deployment.model, [examples])
            assert "Barolo" == answer.rows[0]["cultivar"]
        case "diabetes-progression":
            assert 3 == version.examples_checked
            answer = client.predict(deployment.model, examples["inputs"])
            assert np.allclose(examples["outputs"], answer.value, rtol=1e-12, atol=0)
        case _:
            assert len(examples) == version.examples_checked
            answer = client.predict(deployment.model, [example["input"] for example in examples])
            assert [e["output"]["label"] for e in examples] == answer.label.tolist()
