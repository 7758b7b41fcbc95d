# ruff: noqa: E501 (a table reads by its lines)
"""Every bad request gets its canonical code and says which column or thing, and what is right."""

import re
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details_pb
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from tests.fixtures import models
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served

NAN = float("nan")
SECRET = "the-password-of-the-author"
GOOD = [5.1, 3.5, 1.4, 0.2]
IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


@pytest.fixture(scope="module", autouse=True)
def repositories(served: Served, hub: GitHost) -> None:
    """A model of each kind: a matrix, typed columns, an ONNX graph, a predict.py that raises."""
    failing = f"""
def predict(input):
    if input.get("bad"):
        raise ValueError("{SECRET}")
    return {{"ok": True}}
"""
    for name, files in (
        ("logistic", {"model.joblib": models.dumped(models.iris_logistic())}),
        ("asked-risk", models.risk_files("asked-risk")),
        ("doubling", models.doubling_files()),
        ("failing", models.script_files(failing)),
    ):
        repo = hub.create(name)
        repo.commit(files)
        served.ready(repo.url)


def predict(model: str = "logistic", **more: Any) -> Callable[[pb_grpc.ModelServiceStub], object]:
    rows = more.pop("rows", [])
    request = pb.PredictRequest(model=model, **more)
    for row in rows:
        request.rows.add().update(row)
    return lambda stub: stub.Predict(request, timeout=20)


def tensor(shape: list[int], values: list[float]) -> dict[str, Any]:
    return {"tensor": pb.Tensor(shape=shape, values=values)}


def columns(*given: pb.Column) -> dict[str, Any]:
    return {"table": pb.Table(columns=given)}


def doubles(name: str, values: list[float], nulls: list[int] | None = None) -> pb.Column:
    return pb.Column(name=name, doubles=pb.Doubles(values=values), null_rows=nulls)


def strings(name: str, values: list[str], nulls: list[int] | None = None) -> pb.Column:
    return pb.Column(name=name, strings=pb.Strings(values=values), null_rows=nulls)


def iris_table(*changed: pb.Column, leave_out: str = "") -> dict[str, Any]:
    """A good table of one row, with columns put in the place of those of the same name."""
    by_name = {column.name: column for column in changed}
    good = [by_name.pop(n, doubles(n, [v])) for n, v in zip(IRIS, GOOD, strict=True)]
    return columns(*(c for c in good if c.name != leave_out), *by_name.values())


def risk_row(**changed: Any) -> list[dict[str, Any]]:
    row = {"age": 50.0, "bmi": 25.0, "bp": 90.0, "sex": "female", **changed}
    return [{name: value for name, value in row.items() if value is not ...}]


GOOD_ROW = tensor([1, 4], GOOD)
PAGE = pb.ListRequest(page_token="%%%")
MODEL, REF, VERSION = "pushserve.v1.Model", "pushserve.v1.Ref", "pushserve.v1.Version"

# What is asked, the code, the reason, and the field or resource that the details name with
# what is said about it.
TABLE = {
    "unknown model": (predict("roses", **GOOD_ROW), "NOT_FOUND", "MODEL_NOT_FOUND", MODEL, "roses"),
    "no model": (predict("", **GOOD_ROW), "NOT_FOUND", "MODEL_NOT_FOUND", MODEL, ""),
    "unknown ref": (predict(ref="x", **GOOD_ROW), "NOT_FOUND", "REF_NOT_FOUND", REF, "x"),
    "unknown version": (predict(version=99, **GOOD_ROW), "NOT_FOUND", "VERSION_NOT_FOUND", VERSION, "99"),
    "unknown commit": (predict(commit="abcdef0", **GOOD_ROW), "NOT_FOUND", "VERSION_NOT_FOUND", VERSION, "abcdef0"),
    "short commit": (predict(commit="abc", **GOOD_ROW), "INVALID_ARGUMENT", "", "commit", "7"),
    "commit that is none": (predict(commit="../../etc", **GOOD_ROW), "INVALID_ARGUMENT", "", "commit", "hex"),
    "no inputs": (predict(), "INVALID_ARGUMENT", "WRONG_FORM", "inputs", "exactly one"),
    "rows and tensor": (predict(rows=[{"a": 1}], **GOOD_ROW), "INVALID_ARGUMENT", "WRONG_FORM", "inputs", "exactly one"),
    "no rows in a tensor": (predict(**tensor([0, 4], [])), "INVALID_ARGUMENT", "NO_ROWS", "rows", "at least one"),
    "an empty table": (predict(**columns()), "INVALID_ARGUMENT", "NO_ROWS", "rows", "at least one"),
    "empty columns": (predict(**columns(*(doubles(n, []) for n in IRIS))), "INVALID_ARGUMENT", "NO_ROWS", "rows", "at least one"),
    "three features": (predict(**tensor([1, 3], GOOD[:3])), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "4"),
    "three dimensions": (predict(**tensor([1, 1, 4], GOOD)), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "4"),
    "shape and values differ": (predict(**tensor([2, 4], GOOD)), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "[2, 4]"),
    "a shape of 2**64 values": (predict(**tensor([2**32 - 1, 2**32 - 1], GOOD)), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "4"),
    "values that fill no row": (predict(**tensor([], GOOD[:3])), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "3"),
    "half an element": (predict(tensor=pb.Tensor(raw=b"1234567")), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.raw", "7 bytes"),
    "raw text": (predict(tensor=pb.Tensor(raw=b"x", dtype=pb.DATA_TYPE_STRING)), "INVALID_ARGUMENT", "WRONG_DTYPE", "tensor.dtype", "STRING"),
    "a type from the future": (predict(tensor=pb.Tensor(raw=b"x", dtype=99)), "INVALID_ARGUMENT", "WRONG_DTYPE", "tensor.dtype", "99"),
    "values and raw": (predict(tensor=pb.Tensor(raw=b"12345678", values=[1])), "INVALID_ARGUMENT", "WRONG_FORM", "tensor", "exactly one"),
    "NaN in a tensor": (predict(**tensor([1, 4], [5, 3, NAN, 1])), "INVALID_ARGUMENT", "NOT_FINITE", IRIS[2], "NaN in row 0"),
    "infinity": (predict(**iris_table(doubles(IRIS[0], [float("inf")]))), "INVALID_ARGUMENT", "NOT_FINITE", IRIS[0], "finite"),
    "missing column": (predict(**iris_table(leave_out=IRIS[1])), "INVALID_ARGUMENT", "MISSING_COLUMN", IRIS[1], "float64"),
    "unknown column": (predict(**iris_table(doubles("colour", [1]))), "INVALID_ARGUMENT", "UNKNOWN_COLUMN", "colour", IRIS[0]),
    "doubled column": (predict(**columns(*(doubles(n, [1]) for n in [*IRIS, IRIS[3]]))), "INVALID_ARGUMENT", "DUPLICATE_COLUMN", IRIS[3], "twice"),
    "text for a number": (predict(**iris_table(strings(IRIS[0], ["5.1"]))), "INVALID_ARGUMENT", "WRONG_DTYPE", IRIS[0], "expected float64, got string"),
    "columns of two lengths": (predict(**iris_table(doubles(IRIS[2], [1, 2]))), "INVALID_ARGUMENT", "ROW_COUNT_MISMATCH", IRIS[2], "2 rows"),
    "null where none is allowed": (predict(**iris_table(doubles(IRIS[0], [1], [0]))), "INVALID_ARGUMENT", "NULL", IRIS[0], "null in row 0"),
    "a null beyond the rows": (predict(**iris_table(doubles(IRIS[0], [1], [7]))), "INVALID_ARGUMENT", "ROW_COUNT_MISMATCH", IRIS[0], "row 7"),
    "a column without values": (predict(**iris_table(pb.Column(name=IRIS[0]))), "INVALID_ARGUMENT", "WRONG_FORM", IRIS[0], "doubles"),
    "field missing in a row": (predict("asked-risk", rows=risk_row(age=...)), "INVALID_ARGUMENT", "MISSING_COLUMN", "age", "float64"),
    "unknown field in a row": (predict("asked-risk", rows=risk_row(colour=1)), "INVALID_ARGUMENT", "UNKNOWN_COLUMN", "colour", "'age'"),
    "number for a text": (predict("asked-risk", rows=risk_row(sex=1)), "INVALID_ARGUMENT", "WRONG_DTYPE", "sex", "expected string, got number in row 0"),
    "object for a number": (predict("asked-risk", rows=risk_row(bmi={"a": 1})), "INVALID_ARGUMENT", "WRONG_DTYPE", "bmi", "object"),
    "null in a row": (predict("asked-risk", rows=risk_row(bmi=None)), "INVALID_ARGUMENT", "NULL", "bmi", "null in row 0"),
    "null in the second row": (predict("asked-risk", rows=risk_row() + risk_row(sex=None)), "INVALID_ARGUMENT", "NULL", "sex", "null in row 1"),
    "NaN in a graph": (predict("doubling", **tensor([1, 2], [1, NAN])), "INVALID_ARGUMENT", "NOT_FINITE", "x1", "NaN"),
    "too wide for a graph": (predict("doubling", **tensor([1, 3], [1, 2, 3])), "INVALID_ARGUMENT", "WRONG_SHAPE", "tensor.shape", "2"),
    "tensor for a predict.py": (predict("failing", **GOOD_ROW), "INVALID_ARGUMENT", "WRONG_FORM", "tensor", "rows"),
    "unknown output": (predict(outputs=["colour"], **GOOD_ROW), "INVALID_ARGUMENT", "UNKNOWN_OUTPUT", "outputs", "probabilities"),
    "output twice": (predict(outputs=["label", "label"], **GOOD_ROW), "INVALID_ARGUMENT", "UNKNOWN_OUTPUT", "outputs", "twice"),
    "too many rows": (predict(**tensor([65_537, 4], GOOD * 65_537)), "INVALID_ARGUMENT", "TOO_MANY_ROWS", "rows", "65536"),
    "get: unknown model": (lambda stub: stub.Get(pb.GetRequest(model="roses")), "NOT_FOUND", "MODEL_NOT_FOUND", MODEL, "roses"),
    "get: unknown ref": (lambda stub: stub.Get(pb.GetRequest(model="logistic", ref="x")), "NOT_FOUND", "REF_NOT_FOUND", REF, "x"),
    "get: unknown version": (lambda stub: stub.Get(pb.GetRequest(model="logistic", version=9)), "NOT_FOUND", "VERSION_NOT_FOUND", VERSION, "9"),
    "pin: unknown version": (lambda stub: stub.Pin(pb.PinRequest(model="logistic", version=9)), "NOT_FOUND", "VERSION_NOT_FOUND", VERSION, "9"),
    "pin: unknown ref": (lambda stub: stub.Pin(pb.PinRequest(model="logistic", ref="x")), "NOT_FOUND", "REF_NOT_FOUND", REF, "x"),
    "unpin: unknown model": (lambda stub: stub.Unpin(pb.UnpinRequest(model="x")), "NOT_FOUND", "MODEL_NOT_FOUND", MODEL, "x"),
    "delete: unknown model": (lambda stub: stub.Delete(pb.DeleteRequest(model="x")), "NOT_FOUND", "MODEL_NOT_FOUND", MODEL, "x"),
    "delete: unknown ref": (lambda stub: stub.Delete(pb.DeleteRequest(model="logistic", ref="x")), "NOT_FOUND", "REF_NOT_FOUND", REF, "x"),
    "unknown deployment": (lambda stub: stub.GetDeployment(pb.GetDeploymentRequest(name="x")), "NOT_FOUND", "DEPLOYMENT_NOT_FOUND", "pushserve.v1.Deployment", "x"),
    "deployment without a name": (lambda stub: stub.GetDeployment(pb.GetDeploymentRequest()), "INVALID_ARGUMENT", "BAD_INPUT", "name", "name"),
    "watching nothing": (lambda stub: list(stub.WatchDeployment(pb.WatchDeploymentRequest(name="x"))), "NOT_FOUND", "DEPLOYMENT_NOT_FOUND", "pushserve.v1.Deployment", "x"),
    "bad page token": (lambda stub: stub.List(PAGE), "INVALID_ARGUMENT", "BAD_PAGE", "page_token", "next_page_token"),
    "a token of another list": (lambda stub: stub.ListDeployments(pb.ListDeploymentsRequest(page_token="bmE=")), "INVALID_ARGUMENT", "BAD_PAGE", "page_token", "next_page_token"),
    "negative page": (lambda stub: stub.List(pb.ListRequest(page_size=-1)), "INVALID_ARGUMENT", "BAD_PAGE", "page_size", "0"),
    "register: no source": (lambda stub: stub.Register(pb.RegisterRequest()), "INVALID_ARGUMENT", "BAD_SOURCE_URL", "source", "https://"),
    "register: an option": (lambda stub: stub.Register(pb.RegisterRequest(source="--upload-pack=x")), "INVALID_ARGUMENT", "BAD_SOURCE_URL", "source", "https://"),
    "register: bad ref": (lambda stub: stub.Register(pb.RegisterRequest(source="https://a.example/b.git", ref="a..b")), "INVALID_ARGUMENT", "BAD_INPUT", "ref", "branch or tag"),
    "register: bad model": (lambda stub: stub.Register(pb.RegisterRequest(source="https://a.example/b.git", model="A B")), "INVALID_ARGUMENT", "BAD_INPUT", "model", "lower case"),
}  # fmt: skip


def status_of(error: grpc.RpcError) -> tuple[str, dict[str, Any]]:
    """Give the code and the details by their type."""
    status = rpc_status.from_call(error)
    assert status is not None, "there are no details"
    found: dict[str, Any] = {}
    for detail in status.details:
        name = detail.type_url.rpartition(".")[2]
        found[name] = getattr(details_pb, name)()
        detail.Unpack(found[name])
    return error.code().name, found


@pytest.mark.parametrize("case", TABLE.values(), ids=list(TABLE))
def test_a_bad_request(served: Served, case):
    call, code, reason, what, said = case
    with pytest.raises(grpc.RpcError) as caught:
        call(served.stub)
    given, details = status_of(caught.value)
    assert code == given
    info = details["ErrorInfo"]
    assert "pushserve" == info.domain
    assert reason in ("", info.reason)
    if code == "NOT_FOUND":
        resource = details["ResourceInfo"]
        assert what == resource.resource_type
        assert said in resource.resource_name
    else:
        violations = {v.field: v.description for v in details["BadRequest"].field_violations}
        assert what in violations
        assert said in violations[what]


def test_all_wrong_columns_are_named_at_once(served: Served):
    wrong = iris_table(doubles(IRIS[0], [NAN]), strings(IRIS[1], ["x"]), doubles("colour", [1]))
    with pytest.raises(grpc.RpcError) as caught:
        predict(**wrong)(served.stub)
    _, details = status_of(caught.value)
    fields = {violation.field for violation in details["BadRequest"].field_violations}
    assert {IRIS[0], IRIS[1], "colour"} == fields


def test_a_request_over_the_limit(served: Served):
    """gRPC itself refuses it, before anything of ours has seen it."""
    request = pb.PredictRequest(model="logistic", tensor=pb.Tensor(raw=bytes(17 * 1024**2)))
    with pytest.raises(grpc.RpcError) as caught:
        served.stub.Predict(request, timeout=20)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()


def test_a_model_that_raises_tells_where_on_loopback(served: Served):
    """Its text may hold anything: off loopback, callers learn only that the model failed."""
    with pytest.raises(grpc.RpcError) as caught:
        predict("failing", rows=[{"bad": True}])(served.stub)
    code, details = status_of(caught.value)
    assert ("INVALID_ARGUMENT", "MODEL_REJECTED") == (code, details["ErrorInfo"].reason)
    said = caught.value.details() or ""
    assert re.search(rf": ValueError: {SECRET} \(predict\.py, line \d+, in predict\)$", said)
    assert "Traceback" not in said
    assert predict("failing", rows=[{}])(served.stub).rows[0]["ok"]


def test_one_bad_caller_among_64_good_ones(served: Served):
    """Requests share batches; a bad one fails alone."""
    bad = [
        predict("failing", rows=[{"bad": True}]),
        predict("logistic", **tensor([1, 4], [1, 2, NAN, 4])),
        predict("logistic", **tensor([1, 3], [1, 2, 3])),
    ]
    good = [predict("failing", rows=[{}]), predict("logistic", **GOOD_ROW)]
    stopped = threading.Event()
    refused: list[str] = []
    answered: list[int] = []
    failed: list[str] = []

    def call_badly() -> None:
        while not stopped.is_set():
            for call in bad:
                try:
                    call(served.stub)
                except grpc.RpcError as error:
                    refused.append(error.code().name)

    def call_well(call: Callable[[pb_grpc.ModelServiceStub], object]) -> None:
        for _ in range(20):
            try:
                call(served.stub)
            except grpc.RpcError as error:
                failed.append(f"{error.code()} {error.details()}")
            else:
                answered.append(1)

    attacker = threading.Thread(target=call_badly)
    callers = [threading.Thread(target=call_well, args=(good[i % 2],)) for i in range(64)]
    for thread in (attacker, *callers):
        thread.start()
    for thread in callers:
        thread.join(60)
    stopped.set()
    attacker.join(60)
    assert [] == failed
    assert 64 * 20 == len(answered)
    assert {"INVALID_ARGUMENT"} == set(refused)


def test_a_method_that_does_not_exist(served: Served):
    call = served.channel.unary_unary("/pushserve.v1.ModelService/Train")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()


def test_bytes_that_are_no_message(served: Served):
    """gRPC would answer UNKNOWN with the text of its exception."""
    for method in ("Predict", "Register"):
        call = served.channel.unary_unary(f"/pushserve.v1.ModelService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=10)
        code, details = status_of(caught.value)
        assert ("INVALID_ARGUMENT", "WRONG_FORM") == (code, details["ErrorInfo"].reason)
        assert "Decode" not in caught.value.details()
    watch = served.channel.unary_stream("/pushserve.v1.ModelService/WatchDeployment")
    with pytest.raises(grpc.RpcError) as caught:
        list(watch(b"\xff\xff\xff", timeout=10))
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
