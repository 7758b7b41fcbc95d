"""What the command prints: on narrow screens, in pipes, about errors, and what to type next."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as stubs
from pushserve_client.cli import screen
from pushserve_client.cli.app import app
from pushserve_client.cli.tables import print_table
from pushserve_client.version import __version__
from tests.fixtures import terminal
from tests.fixtures.fake_service import COMMIT, FakeService, abort
from tests.fixtures.import_rules import ROOT

MESSAGE = (
    "there is no model in this folder\nlooked for model.joblib, model.pkl, model.skops and "
    "predict.py; a manifest names none either"
)
FAILURE = pb.DeploymentError(
    reason="ARTIFACT_MISSING", step=pb.DEPLOYMENT_STATE_CHECKING, message=MESSAGE, fix="Commit it."
)


@pytest.fixture
def run(fake_server, monkeypatch):
    """Run a command; gives its result with exit_code, stdout and stderr."""
    monkeypatch.setenv("PUSHSERVE_SERVER", fake_server.address)
    runner = CliRunner()
    return lambda *arguments, text=None: runner.invoke(app, arguments, input=text)


def in_a_terminal(fake_server, columns: int, *arguments, during=None) -> str:
    """Run a command on a screen so wide; gives what the screen got."""
    _, shown = terminal.in_a_terminal(
        fake_server.address, *arguments, during=during, COLUMNS=str(columns)
    )
    return shown.replace("\r\n", "\n")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


ROWS = [
    ("20261128-0a1b2c-1", "iris", "main", "c0ffee0000", "READY", "2026-11-28 14:00:00", "live"),
    ("20261128-0a1b2c-2", "iris", "a-long/branch-name", "c0ffee0000", "FAILED", "", MESSAGE),
    (
        "20261128-0a1b2c-3",
        "模型",
        "main",
        "c0ffee0000",
        "READY",
        "2026-11-28 14:00:00",
        "模型 live",
    ),
]
TITLES = ("DEPLOYMENT", "MODEL", "REF", "COMMIT", "STATE", "CREATED", "MESSAGE")


def drawn(columns: int, titles=TITLES, rows=ROWS) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=columns, color_system=None)
    print_table(console, titles, [[" ".join(cell.split()) for cell in row] for row in rows])
    return file.getvalue().splitlines()


@pytest.mark.parametrize("columns", [20, 30, 44, 60, 70, 80, 100, 120, 160, 300])
def test_tables_on_screens_of_every_width(columns):
    """No line is wider than the screen, unless a single word is; no word is broken."""
    lines = drawn(columns)

    cells = {word for row in ROWS for cell in row for word in cell.split()}
    shown = {word for line in lines for word in line.split()}
    assert cells <= shown
    assert shown <= cells | set(TITLES)
    longest = max(map(cell_len, cells)) + max(map(cell_len, TITLES)) + 2
    assert all(cell_len(line) <= max(columns, longest) for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_table_that_fits_is_a_table():
    """Columns begin where their titles do, also behind characters that take two columns."""
    title, *rows = drawn(300)

    assert 3 == len(rows)
    start = title.index("STATE")
    for row, state in zip(rows, ["READY", "FAILED", "READY"], strict=True):
        assert start == cell_len(row[: row.index(state)])


def test_a_table_on_60_columns_is_read_row_by_row():
    lines = drawn(60)

    assert "DEPLOYMENT  20261128-0a1b2c-1" == lines[0]
    assert "MODEL       iris" == lines[1]
    assert 2 == lines.count("")
    assert all(cell_len(line) <= 60 for line in lines)


def test_the_longest_column_is_wrapped_first():
    lines = drawn(130)

    assert all(cell_len(line) <= 130 for line in lines)
    assert lines[0].split() == list(TITLES)
    assert 1 == sum("20261128-0a1b2c-2" in line for line in lines)


@pytest.fixture
def failures(fake_server):
    """Three deployments: one failed, with a message of two lines, and two that went well."""
    fake_server.service.script("20261128-0a1b2c-1", pb.DEPLOYMENT_STATE_READY, version=3)
    fake_server.service.script("20261128-0a1b2c-2", pb.DEPLOYMENT_STATE_FAILED, error=FAILURE)
    fake_server.service.script("20261128-0a1b2c-3", pb.DEPLOYMENT_STATE_READY, version=4)
    return fake_server


def test_a_terminal_gets_a_table_as_wide_as_itself(failures):
    lines = plain(in_a_terminal(failures, 60, "deployments")).splitlines()

    assert "DEPLOYMENT  20261128-0a1b2c-3" == lines[0]
    assert all(cell_len(line) <= 60 for line in lines)


@pytest.mark.parametrize("columns", [44, 60, 80])
def test_messages_on_a_screen_are_broken_between_words(monkeypatch, columns):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=columns, color_system=None)
    monkeypatch.setattr(screen, "errors", lambda: console)
    message = f"{MESSAGE} https://example.org/{'long' * 30}"

    screen.fail(message, FAILURE.fix)

    lines = file.getvalue().splitlines()
    assert ["error:", *message.split(), *FAILURE.fix.split()] == file.getvalue().split()
    assert all(len(line) <= columns for line in lines if "https" not in line)
    assert len(lines) > 3


def test_in_a_pipe_a_message_is_as_long_as_it_is(run, failures):
    assert (
        f" while checking: {MESSAGE}\nCommit it.\n" in run("deployment", "20261128-0a1b2c-2").stderr
    )


def test_in_a_pipe_a_row_is_a_line(run, failures):
    """Tabs between the cells, nothing to fill up, no line ends inside."""
    lines = run("deployments").stdout.splitlines()

    assert 4 == len(lines)
    assert {7} == {len(line.split("\t")) for line in lines if "READY" not in line}
    (failed,) = (line for line in lines if "FAILED" in line)
    assert f"ARTIFACT_MISSING: {' '.join(MESSAGE.split())}" == failed.split("\t")[-1]
    assert not [line for line in lines if "  " in line or line != line.rstrip()]


class Refusing(FakeService):
    """Refuses every Predict as the real server does, with its violations."""

    violations = (("x", "expected float64, got string"),)
    reason = "WRONG_DTYPE"

    def Predict(self, request, context):  # noqa: ARG002
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
            for field, text in self.violations
        ]
        field, text = self.violations[0]
        more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
        abort(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            f"column {field!r}: {text}{more}",
            error_details_pb2.ErrorInfo(reason=self.reason, domain="pushserve"),
            error_details_pb2.BadRequest(field_violations=fields),
        )


@pytest.fixture
def refusing(monkeypatch):
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    service = Refusing()
    stubs.add_ModelServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("PUSHSERVE_SERVER", f"127.0.0.1:{port}")
    yield service
    server.stop(grace=None).wait()


def test_an_error_is_told_once(refusing):
    result = CliRunner().invoke(app, ["predict", "echo", "--data", '{"x": "a"}'])

    assert "error: column 'x': expected float64, got string\n" == result.stderr


def test_what_the_message_does_not_say_follows(refusing):
    refusing.violations = (
        ("x", "expected float64, got string"),
        ("y", "missing column of bool"),
        ("z", "null in row 0"),
    )

    result = CliRunner().invoke(app, ["predict", "echo", "--data", '{"x": "a"}'])

    assert (
        "error: column 'x': expected float64, got string (and 2 more)\n"
        "  y: missing column of bool\n  z: null in row 0\n"
    ) == result.stderr


@pytest.mark.parametrize(
    ("address", "message", "fix"),
    [
        (
            "http://127.0.0.1:50051",
            "is a URL, and gRPC takes an address: give '127.0.0.1:50051'",
            "",
        ),
        ("https://example.org:443/x", "give 'example.org:443'", ""),
        ("127.0.0.1", "no server answers at 127.0.0.1", "--server 127.0.0.1:50051"),
        ("127.0.0.1:1", "no server answers at 127.0.0.1:1", "pushserve serve"),
    ],
)
def test_addresses_that_lead_nowhere(run, address, message, fix):
    result = run("list", "--server", address, "--timeout", "5")

    assert 1 == result.exit_code
    assert message in result.stderr
    assert fix in result.stderr


def test_a_server_of_another_kind(run):
    """The webhook's port, for one."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        result = run("list", "--server", f"127.0.0.1:{server.server_port}", "--timeout", "20")
        server.shutdown()
        thread.join()

    assert "is no gRPC server" in result.stderr, result.stderr


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_timeout(run, fake_server, where):
    fake_server.service.hang.clear()
    option = ("--timeout", "0.3")

    result = run(*option, "list") if where == "before" else run("list", *option)

    assert 1 == result.exit_code
    assert "did not answer in time\nGive it more by --timeout" in result.stderr


def test_a_timeout_ends_the_following_only(run, fake_server):
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_BUILDING)
    fake_server.service.stalls = True

    result = run("deployment", "d", "--follow", "--timeout", "1")

    assert 1 == result.exit_code
    assert "it has not ended within 1 s\nthe deployment continues" in result.stderr


def test_the_version(run):
    assert f"{__version__}\n" == run("--version").stdout == run("version").stdout


def test_info(run):
    """What a model has to be saved with."""
    assert "scikit-learn\t1.9.1" in run("info").stdout.splitlines()
    found = json.loads(run("info", "--json").stdout)
    assert ("3.11.7", {"scikit-learn": "1.9.1"}) == (found["python"], found["packages"])


def copied(stdout: str) -> list[list[str]]:
    """The lines to copy, as a shell reads them."""
    return [shlex.split(line) for line in stdout.partition("to call it:\n")[2].splitlines()]


def test_lines_to_copy_work_as_they_are(run, fake_server):
    """The command, and what grpcurl sends."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=2)

    command, grpcurl = copied(run("deployment", "d", "--follow").stdout)

    assert ["pushserve", "predict", "iris"] == command[:3]
    assert 0 == run(*command[1:]).exit_code
    assert {"length", "code"} == set(json.loads(command[4])[0])
    assert ["grpcurl", "-plaintext", "-d"] == grpcurl[:3]
    assert [fake_server.address, "pushserve.v1.ModelService/Predict"] == grpcurl[4:]
    program = Path(sys.executable).with_name("grpcurl")
    proto = ("-import-path", str(ROOT / "protos"), "-proto", "pushserve/v1/model_service.proto")
    done = subprocess.run(
        [program, *proto, *grpcurl[1:]], capture_output=True, text=True, check=False, timeout=60
    )
    assert '"label"' in done.stdout, done.stderr


def test_lines_to_copy_name_what_is_needed(run, fake_server):
    """A branch that is not the default one; a server that the shell does not know."""
    service = fake_server.service
    service.script("d", pb.DEPLOYMENT_STATE_READY, version=2)
    service.models["iris"].default_ref = "refs/heads/other"
    os.environ.pop("PUSHSERVE_SERVER")

    result = run("--server", fake_server.address, "deployment", "d", "--follow")
    command, grpcurl = copied(result.stdout)

    assert ["--ref", "refs/heads/main", "--server", fake_server.address] == command[5:]
    assert "refs/heads/main" == json.loads(grpcurl[3])["ref"]


def test_lines_to_copy_of_any_object(run, fake_server):
    """What a predict.py takes only its author knows."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=2)
    fake_server.service.features["iris"] = ()

    get, predict = copied(run("deployment", "d", "--follow").stdout)

    assert ["pushserve", "get", "iris"] == get[:3]
    assert ["pushserve", "predict", "iris", "rows.csv"] == predict


def test_nothing_to_copy_where_nothing_is_live(run, fake_server):
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_FAILED, error=FAILURE)

    result = run("deployment", "d", "--follow")

    assert "to call it" not in result.stdout + result.stderr


def test_the_running_line_counts_seconds(fake_server):
    """It goes on while the server says nothing new."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_BUILDING)
    fake_server.service.stalls = True

    def during(shown, process):
        deadline = time.monotonic() + 40
        while not re.search(r"\b2 s  building", plain(shown())):
            assert time.monotonic() < deadline, shown()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)

    shown = plain(in_a_terminal(fake_server, 80, "deployment", "d", "--follow", during=during))

    assert re.search(r"\b1 s  building", shown)


def test_a_commit_is_called_by_itself(run, fake_server):
    """Where no ref leads to it."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=2).ref = ""

    command, grpcurl = copied(run("deployment", "d", "--follow").stdout)

    assert ["--commit", COMMIT] == command[5:]
    assert COMMIT == json.loads(grpcurl[3])["commit"]
