"""The client against a real server."""

import math
import subprocess
import sys
from datetime import UTC, datetime

import grpc
import numpy as np
import pandas as pd
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import Client, DeploymentFailed, DeploymentState, errors
from pushserve_client.channel import channel_options
from tests.fixtures.fake_service import COMMIT, SOURCE, FakeServer


@pytest.fixture
def client(fake_server: FakeServer):
    with Client(fake_server.address, timeout=10) as client:
        yield client


@pytest.mark.parametrize(
    "inputs",
    [
        np.array([[5.0, 0.0], [0.5, 0.0]]),
        np.array([[5, 0], [0, 0]]),
        pd.DataFrame({"length": [5.0, 0.5], "code": ["a", None]}),
        {"length": [5.0, 0.5]},
        [{"length": 5.0}, {"length": 0.5}],
    ],
    ids=["array", "ints", "frame", "columns", "rows"],
)
def test_predict(client, inputs):
    """Every form of input gives the same arrays."""
    prediction = client.predict("iris", inputs)

    assert ["big", "small"] == prediction.label.tolist()
    assert [[1.0, 0.0], [0.25, 0.75]] == prediction.probabilities.tolist()
    assert ("big", "small") == prediction.classes
    assert ("iris", 2, COMMIT, "onnx") == (
        prediction.model,
        prediction.version,
        prediction.commit,
        prediction.engine,
    )


def test_predict_names_its_target_and_outputs(client, fake_server):
    """What was asked for arrives."""
    client.predict("iris", [[1.0]], commit="c0ffee0", outputs=["label"])

    request = fake_server.service.requests[-1]
    assert ("commit", "c0ffee0") == (request.WhichOneof("target"), request.commit)
    assert ["label"] == list(request.outputs)


def test_two_targets_are_refused_before_the_call(client):
    """A ref and a version contradict each other."""
    with pytest.raises(ValueError, match="one of ref, version, commit, not ref and version"):
        client.predict("iris", [[1.0]], ref="main", version=2)


def test_a_prediction_as_a_frame(client):
    """Columns of an output are named by their classes."""
    frame = client.predict("iris", [[5.0]]).to_pandas()

    assert ["label", "probabilities[big]", "probabilities[small]"] == list(frame.columns)
    assert ["big", 1.0, 0.0] == frame.iloc[0].tolist()


WITHOUT_NUMPY = """\
import sys
sys.modules["numpy"] = None  # as where it is not installed
from pushserve_client import BadData, Client

client = Client(sys.argv[1])
prediction = client.predict("iris", [[5.0, 1], (0.5, 1)])
print(prediction.to_lists(), prediction.columns(), prediction)
print(client.predict("iris", {"length": [1, None], "code": ["a", "b"]}).columns()["label"])
print(client.predict("echo", {"a": 1}).rows)
for use in (lambda: prediction.label, lambda: client.predict("iris", [["a"]])):
    try:
        use()
    except (ModuleNotFoundError, BadData) as error:
        print(type(error).__name__, "pip install 'pushserve-client[numpy]'" in str(error))
"""


def test_without_numpy(fake_server):
    """Lists go in and come out; what needs arrays says what to install."""
    command = [sys.executable, "-c", WITHOUT_NUMPY, fake_server.address]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    first, *others = done.stdout.splitlines()
    lists = {"label": ["big", "small"], "probabilities": [[1.0, 0.0], [0.25, 0.75]]}
    columns = {
        "label": ["big", "small"],
        "probabilities[big]": [1.0, 0.25],
        "probabilities[small]": [0.0, 0.75],
    }
    assert first.startswith(f"{lists} {columns} Prediction(model='iris', version=2, ")
    assert f"outputs={lists}" in first
    assert [
        "['small', 'small']",
        "({'a': 1},)",
        "ModuleNotFoundError True",
        "BadData True",
    ] == others


def test_a_missing_output_names_those_there_are(client):
    """Asking for a regressor's value of a classifier is explained."""
    with pytest.raises(KeyError, match="no output 'value' in the reply; there are: label, prob"):
        _ = client.predict("iris", [[5.0]]).value
    with pytest.raises(KeyError, match=r"Did you mean 'probabilities'\?"):
        _ = client.predict("iris", [[5.0]])["probability"]


def test_rows_come_back_as_dicts(client):
    """A predict.py gives objects."""
    prediction = client.predict("echo", [{"a": [1, {"b": None}], "c": 0.5}])

    assert ({"a": [1, {"b": None}], "c": 0.5},) == prediction.rows
    assert {"a": [[1, {"b": None}]], "c": [0.5]} == prediction.columns()


def test_list_goes_through_all_pages(client, fake_server):
    """A page of one model makes two calls."""
    models = list(client.list(page_size=1))

    assert ["echo", "iris"] == [model.name for model in models]
    assert 2 == len(fake_server.service.requests)
    assert datetime.fromtimestamp(1_700_000_000, UTC) == models[0].create_time


def test_get(client):
    """Refs, versions and signature are values."""
    details = client.get("iris")

    assert "refs/heads/main" == details.model.refs[0].name
    assert None is details.version.create_time
    assert [("length", "float64", False), ("code", "string", True)] == [
        (f.name, f.dtype, f.nullable) for f in details.version.signature.inputs
    ]


def test_pin_unpin_delete(client):
    """The ref comes back as it is after the call."""
    pinned = client.pin("iris", version=1)
    unpinned = client.unpin("iris")

    assert (True, 1, 2) == (pinned.pinned, pinned.version, pinned.latest_version)
    assert (False, 2) == (unpinned.pinned, unpinned.version)
    assert ("refs/heads/main",) == client.delete("iris")
    assert ["echo"] == [model.name for model in client.list()]


def test_register_and_read_deployments(client):
    """A deployment is there as soon as Register has answered."""
    deployment = client.register(SOURCE, ref="main", model="iris")

    assert DeploymentState.QUEUED is deployment.state
    assert deployment == client.get_deployment(deployment.name)
    assert [deployment] == list(client.deployments(model="iris", state=DeploymentState.QUEUED))
    assert [] == list(client.deployments(state=DeploymentState.READY))


def test_wait_for_a_deployment(client, fake_server):
    """It gives the deployment as it ended."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=3)

    deployment = client.wait("d", timeout=10)

    assert (DeploymentState.READY, 3, 4) == (
        deployment.state,
        deployment.version,
        len(deployment.events),
    )


def test_wait_follows_the_newer_deployment(client, fake_server):
    """A superseded one is not live; the one that took its place is."""
    fake_server.service.script("old", pb.DEPLOYMENT_STATE_SUPERSEDED, superseded_by="new")
    fake_server.service.script("new", pb.DEPLOYMENT_STATE_READY)

    assert "new" == client.wait("old", timeout=10).name


def test_a_failed_deployment_says_why(client, fake_server):
    """Reason, message and fix are at hand."""
    failure = pb.DeploymentError(
        reason="ARTIFACT_MISSING",
        step=pb.DEPLOYMENT_STATE_CHECKING,
        message="there is no model",
        fix="commit model.joblib",
    )
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_FAILED, error=failure)

    with pytest.raises(DeploymentFailed, match=r"^ARTIFACT_MISSING: there is no model$") as caught:
        client.wait("d", timeout=10)

    assert "commit model.joblib" == caught.value.fix
    assert DeploymentState.CHECKING is caught.value.deployment.failure.step


def test_a_watch_goes_on_over_a_lost_connection(client, fake_server):
    """Nothing is seen twice, and nothing is missed."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY)
    fake_server.service.watch_losses = 1

    states = [deployment.state for deployment in client.watch("d", timeout=20)]

    assert DeploymentState.READY is states[-1]
    assert 2 == len(fake_server.service.requests)
    assert 1 == states.count(DeploymentState.BUILDING)


def test_waiting_has_a_deadline(client, fake_server):
    """A deployment that does not move ends the wait, not the deployment."""
    fake_server.service.deployments["d"] = pb.Deployment(name="d")

    with pytest.raises(errors.DeadlineExceeded):
        client.wait("d", timeout=0.2)


def test_not_found_names_the_resource(client):
    """Details of the error are decoded."""
    with pytest.raises(errors.NotFound, match="there is no model 'iriss'") as caught:
        client.get("iriss")

    assert "MODEL_NOT_FOUND" == caught.value.reason
    assert errors.Resource("model", "iriss") == caught.value.resource
    assert grpc.StatusCode.NOT_FOUND is caught.value.code


def test_a_bad_request_names_the_field(client):
    """So do its violations."""
    with pytest.raises(errors.InvalidArgument) as caught:
        client.register(SOURCE, ref="-x")

    assert (errors.FieldViolation("ref", "no ref starts with '-'"),) == caught.value.violations


def test_unavailable_is_tried_again(client, fake_server):
    """Two losses are not seen by the caller."""
    fake_server.service.faults.extend([grpc.StatusCode.UNAVAILABLE] * 2)

    assert ["echo", "iris"] == [model.name for model in client.list()]
    assert 3 == len(fake_server.service.requests)


def test_what_changes_something_is_not_tried_again(client, fake_server):
    """Pin may have happened: the caller decides."""
    fake_server.service.faults.append(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(errors.Unavailable) as caught:
        client.pin("iris")

    assert 1.5 == caught.value.retry_after
    assert 1 == len(fake_server.service.requests)


def test_retry_can_be_switched_off(fake_server):
    """The first loss is the caller's."""
    fake_server.service.faults.append(grpc.StatusCode.UNAVAILABLE)

    with Client(fake_server.address, retry=False) as client, pytest.raises(errors.Unavailable):
        list(client.list())

    assert 1 == len(fake_server.service.requests)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (code, errors.ServerFault)
        for code in (
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
            grpc.StatusCode.DATA_LOSS,
        )
    ]
    + [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExists),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unimplemented),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
    ],
)
def test_every_code_has_its_exception(client, fake_server, code, expected):
    """The exception keeps the code and the text."""
    fake_server.service.faults.append(code)

    with pytest.raises(errors.CallError, match=f"a fault of the test: {code.name}") as caught:
        client.pin("iris")

    assert (expected, code) == (type(caught.value), caught.value.code)


def test_broken_details_do_not_hide_the_error():
    """What a proxy mangled counts as no details."""
    metadata = (("x", "y"), ("grpc-status-details-bin", b"\xff\xff"))

    assert errors.Details() == errors.details_from_metadata(metadata)


def test_a_server_that_is_not_there():
    """It is unavailable, not a hang."""
    with Client("127.0.0.1:1", timeout=10) as client:
        assert not client.is_serving()
        with pytest.raises(errors.Unavailable):
            client.get("iris")


def test_is_serving(client):
    """The server answers for itself, not for a service it does not know."""
    assert client.is_serving()
    assert not client.is_serving("no.such.Service")


def test_a_large_reply_arrives(client):
    """More than gRPC's own limit of 4 MiB."""
    rows = 200_000

    prediction = client.predict("iris", np.full((rows, 1), 5.0))

    assert (rows, 2) == prediction.probabilities.shape


@pytest.mark.parametrize(
    ("target", "proxied"),
    [("127.0.0.1:1", False), ("[::1]:1", False), ("localhost:1", False), ("example.org:1", True)],
)
def test_no_proxy_between_here_and_here(target, proxied):
    """http_proxy is for the outside."""
    options = dict(channel_options(target, retry=True))

    assert proxied is ("grpc.enable_http_proxy" not in options)


def test_nulls_arrive(client):
    """NaN is not big."""
    assert ["small"] == client.predict("iris", {"length": [math.nan]}).label.tolist()
