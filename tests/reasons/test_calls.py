"""Every reason of a Predict: the request that brings it about, and the one that is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served
from tests.reasons.call_models import repositories

NAN = float("nan")
BEYOND = 2**53 + 1
ROW = {"age": 1.0, "fare": 2.0}


@dataclass(frozen=True)
class CallCase:
    """A request that is refused with reason and code, for what the text says, and the cure's."""

    reason: str
    code: str
    bad: pb.PredictRequest
    said: str
    good: pb.PredictRequest


def rows(model: str, *given: dict[str, Any], **more: Any) -> pb.PredictRequest:
    request = pb.PredictRequest(model=model, **more)
    for row in given:
        request.rows.add().update(row)
    return request


def tensor(shape: list[int], values: list[float]) -> pb.PredictRequest:
    return pb.PredictRequest(model="flat", tensor=pb.Tensor(shape=shape, values=values))


def table(*columns: pb.Column, model: str = "flat") -> pb.PredictRequest:
    return pb.PredictRequest(model=model, table=pb.Table(columns=columns))


def doubles(name: str, *values: float) -> pb.Column:
    return pb.Column(name=name, doubles=pb.Doubles(values=values))


def texts(name: str, *values: str) -> pb.Column:
    return pb.Column(name=name, strings=pb.Strings(values=values))


def ints(name: str, *values: int) -> pb.Column:
    return pb.Column(name=name, ints=pb.Int64s(values=values))


GOOD = rows("flat", ROW)
WRONG = "INVALID_ARGUMENT"
SCRIPT_FINE = rows("script", {"do": "nothing"})

CASES = {
    "a commit of three digits": CallCase(
        "BAD_INPUT", WRONG, rows("flat", ROW, commit="abc"),
        "at least 7 hex digits", GOOD),
    "no inputs": CallCase("WRONG_FORM", WRONG, rows("flat"), "exactly one", GOOD),
    "a tensor for a script": CallCase(
        "WRONG_FORM", WRONG, pb.PredictRequest(model="script", tensor=pb.Tensor(values=[1.0])),
        "rows", SCRIPT_FINE),
    "a table without rows": CallCase(
        "NO_ROWS", WRONG, table(doubles("age"), doubles("fare")), "at least one", GOOD),
    "too many rows": CallCase(
        "TOO_MANY_ROWS", WRONG, tensor([65_537, 2], [1.0] * 131_074), "65536",
        tensor([65_536, 2], [1.0] * 131_072)),
    "three columns": CallCase(
        "WRONG_SHAPE", WRONG, tensor([1, 3], [1, 2, 3]), "2", tensor([1, 2], [1, 2])),
    "a text for a number": CallCase(
        "WRONG_DTYPE", WRONG, rows("flat", ROW | {"age": "old"}),
        "expected float64, got string in row 0", rows("flat", ROW | {"age": 71})),
    "a column of texts for numbers": CallCase(
        "WRONG_DTYPE", WRONG, table(texts("age", "1"), doubles("fare", 2)),
        "expected float64, got string", table(doubles("age", 1), doubles("fare", 2))),
    "a column that is left out": CallCase(
        "MISSING_COLUMN", WRONG, rows("flat", {"age": 1}), "fare", GOOD),
    "a column of another name": CallCase(
        "UNKNOWN_COLUMN", WRONG, rows("flat", ROW | {"fair": 1}), "Did you mean 'fare'?", GOOD),
    "a column twice": CallCase(
        "DUPLICATE_COLUMN", WRONG, table(doubles("age", 1), doubles("fare", 2), doubles("age", 1)),
        "twice", table(doubles("age", 1), doubles("fare", 2))),
    "columns of two lengths": CallCase(
        "ROW_COUNT_MISMATCH", WRONG, table(doubles("age", 1), doubles("fare", 2, 3)),
        "fare", table(doubles("age", 1, 1), doubles("fare", 2, 3))),
    "an id that JSON rounds": CallCase(
        "INEXACT_NUMBER", WRONG, rows("counted", {"id": BEYOND}),
        "as text", rows("counted", {"id": str(BEYOND)})),
    "an id among doubles": CallCase(
        "INEXACT_NUMBER", WRONG, rows("counted", {"id": 2.0**60}),
        "as text", table(ints("id", 2**60), model="counted")),
    "a null": CallCase(
        "NULL", WRONG, rows("flat", ROW | {"age": None}), "null in row 0", GOOD),
    "NaN": CallCase(
        "NOT_FINITE", WRONG, tensor([1, 2], [1, NAN]), "expected a finite number",
        tensor([1, 2], [1, 0])),
    "a town that is none": CallCase(
        "UNKNOWN_CATEGORY", WRONG, rows("towns", {"town": "Köln"}), "Bonn",
        rows("towns", {"town": "Bonn"})),
    "a text that is too long": CallCase(
        "TEXT_TOO_LONG", WRONG, rows("words", {"text": "ab " * 1_000_000}), "text",
        rows("words", {"text": "ab " * 1_000})),
    "an output that is none": CallCase(
        "UNKNOWN_OUTPUT", WRONG, rows("flat", ROW, outputs=["label"]), "value",
        rows("flat", ROW, outputs=["value"])),
    "a key that the code does not know": CallCase(
        "MODEL_REJECTED", WRONG, rows("script", {"do": "read", "key": "b"}),
        "KeyError: 'b' (predict.py, line 8, in predict)",
        rows("script", {"do": "read", "key": "a"})),
    "code that fails": CallCase(
        "MODEL_FAILED", "INTERNAL", rows("script", {"do": "divide", "n": 0}),
        "ZeroDivisionError", rows("script", {"do": "divide", "n": 2})),
    "code that ends its process": CallCase(
        "WORKER_DIED", "UNAVAILABLE", rows("script", {"do": "end"}), "script", SCRIPT_FINE),
    "code that loops": CallCase(
        "WORKER_HUNG", "UNAVAILABLE", rows("script", {"do": "loop"}), "2 s", SCRIPT_FINE),
    "an answer that is too large": CallCase(
        "ANSWER_TOO_LARGE", "FAILED_PRECONDITION",
        rows("script", *[{"do": "large", "n": 10_000_000}] * 2),
        "takes more than 16777216 bytes, the most for one call; send fewer rows",
        rows("script", {"do": "large", "n": 1_000_000})),
    "a number beyond float64": CallCase(
        "ANSWER_INVALID", "FAILED_PRECONDITION", rows("script", {"do": "beyond", "n": 400}),
        "float64", rows("script", {"do": "beyond", "n": 300})),
    "a model that is none": CallCase(
        "MODEL_NOT_FOUND", "NOT_FOUND", rows("flats", ROW), "Did you mean 'flat'?", GOOD),
    "a branch that is none": CallCase(
        "REF_NOT_FOUND", "NOT_FOUND", rows("flat", ROW, ref="maim"), "Did you mean 'main'?",
        rows("flat", ROW, ref="main")),
    "a version that is none": CallCase(
        "VERSION_NOT_FOUND", "NOT_FOUND", rows("flat", ROW, version=9), "it has 1 (",
        rows("flat", ROW, version=1)),
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(served: Served, hub: GitHost) -> Served:
    """The server with the models that are called."""
    names = []
    for name, files in repositories().items():
        repo = hub.create(name)
        repo.force(files)
        request = pb.RegisterRequest(source=repo.url)
        names.append(served.stub.Register(request, timeout=20).deployment.name)
    for name in names:
        done = served.follow(name)
        assert pb.DEPLOYMENT_STATE_READY == done.state, str(done.error)
    return served


def refused(call: Callable[[], object]) -> tuple[str, str, str]:
    """Give code and reason of a call that is refused, and all that it says."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code().name, info.reason, caught.value.details()


@pytest.mark.reason(*{case.reason for case in CASES.values()})
@pytest.mark.parametrize("name", CASES)
def test_what_the_text_asks_for_is_answered(asked: Served, name: str):
    case = CASES[name]
    code, reason, text = refused(lambda: asked.stub.Predict(case.bad, timeout=20))
    assert (case.code, case.reason) == (code, reason), text
    assert case.said in text
    assert str(asked.data_dir) not in text
    asked.stub.Predict(case.good, timeout=20)


@pytest.mark.reason("DEADLINE_EXCEEDED")
def test_more_time(asked: Served):
    request = rows("script", {"do": "sleep", "seconds": 0.5})
    with pytest.raises(grpc.RpcError) as caught:
        asked.stub.Predict(request, timeout=0.1)
    assert grpc.StatusCode.DEADLINE_EXCEEDED == caught.value.code()
    assert asked.stub.Predict(request, timeout=20).rows[0]["done"]
