"""What a build child says is checked, and how it ended is judged."""

import signal

import pytest

from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.build.build_ending import Limits, judge
from pushserve_server.build.build_report import read_engine, read_report, read_signature
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import DeploymentFailed
from pushserve_server.sandbox_client import Exit

SIGNATURE = Signature(
    Layout.MATRIX,
    (Feature("x", categories=("a", 1, 1.5)),),
    (OutputSpec("label", DType.STRING, classes=("a", "b")),),
    ("label",),
)


def test_a_good_answer_is_taken():
    answer = {"signature": SIGNATURE.to_json(), "engine": "onnx", "report": {"format": "onnx"}}
    assert SIGNATURE == read_signature(answer)
    assert EngineName.ONNX is read_engine(answer)
    assert "onnx" == read_report(answer)["format"]


def changed(**changes):
    return SIGNATURE.to_json() | changes


FEATURE = {"name": "x", "dtype": "float64", "nullable": False, "categories": []}
OUTPUT = {"name": "label", "dtype": "string", "columns": 0, "classes": []}


@pytest.mark.parametrize(
    "signature",
    [
        None,
        [],
        {},
        changed(layout="cube"),
        changed(inputs=5),
        changed(inputs=[FEATURE, FEATURE]),
        changed(inputs=[FEATURE | {"name": "a\0b"}]),
        changed(inputs=[FEATURE | {"dtype": "object"}]),
        changed(inputs=[FEATURE | {"categories": [{}]}]),
        changed(inputs=[FEATURE | {"categories": [float("nan")]}]),
        changed(outputs=[OUTPUT | {"columns": -1}]),
        changed(outputs=[OUTPUT | {"columns": 10**9}]),
        changed(outputs=[OUTPUT | {"classes": ["\0"]}]),
        changed(outputs=[OUTPUT | {"name": f"o{n}"} for n in range(33)]),
        changed(default_outputs=["other"]),
    ],
)
def test_a_signature_of_another_form_is_refused(signature):
    with pytest.raises(DeploymentFailed) as caught:
        read_signature({"signature": signature})
    assert "BUILD_ANSWER_INVALID" == caught.value.reason


@pytest.mark.parametrize(("name", "length"), [("", "0"), ("x" * 1100, "1,100")])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_name_that_is_empty_or_too_long_is_told(name, length, side):
    """It is the author's to change; nothing is wrong with the build."""
    one = FEATURE if side == "inputs" else OUTPUT
    with pytest.raises(DeploymentFailed) as caught:
        read_signature({"signature": changed(**{side: [one | {"name": name}]})})
    assert "SIGNATURE_INVALID" == caught.value.reason
    assert f"a name of {length} characters" in caught.value.message
    assert len(caught.value.message) < 200
    assert caught.value.fix.startswith("Rename")


def test_a_signature_that_is_too_large_is_refused():
    with pytest.raises(DeploymentFailed) as caught:
        read_signature({"signature": changed(outputs=[OUTPUT | {"classes": ["x" * 5_000_000]}])})
    assert "SIGNATURE_TOO_LARGE" == caught.value.reason


@pytest.mark.parametrize("engine", [None, "gpu", 5, ["onnx"]])
def test_an_engine_that_there_is_not_is_refused(engine):
    with pytest.raises(DeploymentFailed, match="engine"):
        read_engine({"engine": engine})


def test_a_report_keeps_what_is_known_and_printable():
    report = read_report(
        {"report": {"estimator": "a\0\x1b[31m" + "b" * 900, "evil": 1, "timings": {"load": 0.5}}}
    )
    assert "evil" not in report
    assert report["estimator"].startswith("a??[31mb")
    assert 500 == len(report["estimator"])
    assert {"load": 0.5} == report["timings"]


@pytest.mark.parametrize(
    "report", [5, {"timings": {"x": float("inf")}}, {"log": {}}, {"examples_checked": -1}]
)
def test_a_report_of_another_form_is_refused(report):
    with pytest.raises(DeploymentFailed, match="report"):
        read_report({"report": report})


LIMITS = Limits(timeout=60, memory=1024)


@pytest.mark.parametrize(
    ("end", "reason", "said"),
    [
        (Exit(None, signal.SIGXCPU, 0, 60.0), "SANDBOX_TIMEOUT", "60 s"),
        (Exit(None, signal.SIGKILL, 0, 60.5), "SANDBOX_TIMEOUT", "60 s"),
        (Exit(None, signal.SIGKILL, 512 * 1024**2, 1.0), "SANDBOX_MEMORY", "512 MiB"),
        (Exit(None, signal.SIGSEGV, 0, 1.0), "SANDBOX_CRASHED", "SIGSEGV"),
        (Exit(3, None, 0, 1.0), "SANDBOX_CRASHED", "exit code 3"),
        (Exit(None, signal.SIGXCPU, 0, 1.0), "SANDBOX_CRASHED", "SIGXCPU"),
        (Exit(None, 40, 0, 1.0), "SANDBOX_CRASHED", "signal 40"),
        (Exit(70, None, 0, 1.0), "SANDBOX_CRASHED", "exit code 70"),
        (Exit(71, None, 0, 1.0), "SANDBOX_CRASHED", "exit code 71"),
        (None, "BUILD_ANSWER_INVALID", "closed its channel"),
    ],
)
def test_an_end_without_an_answer_is_judged(end, reason, said):
    failure = judge(end, LIMITS, began=True)
    assert reason == failure.reason
    assert said in failure.message
    assert failure.fix


def test_a_child_that_never_got_into_its_jail_is_the_servers_fault():
    failure = judge(Exit(71, None, 0, 1.0), LIMITS, began=False)
    assert "SANDBOX_UNAVAILABLE" == failure.reason
    assert "lock" in failure.message


@pytest.mark.parametrize(
    ("raised", "reason", "said"),
    [
        ("MemoryError", "SANDBOX_MEMORY", "too much memory"),
        ("SystemExit", "SANDBOX_CRASHED", "raised SystemExit"),
        ("KeyError", "BUILD_FAILED", "(KeyError)"),
    ],
)
def test_what_a_build_raised_is_told(raised, reason, said):
    failure = judge(Exit(70, None, 0, 1.0), LIMITS, began=True, raised=raised)
    assert reason == failure.reason
    assert said in failure.message
