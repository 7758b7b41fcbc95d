"""The `pushserve` command against a real server."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys

import grpc
import pytest
from typer.testing import CliRunner

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.cli.app import app
from tests.fixtures import terminal
from tests.fixtures.fake_service import COMMIT, SOURCE


@pytest.fixture
def run(fake_server, monkeypatch):
    """Run a command; gives its result with exit_code, stdout and stderr."""
    monkeypatch.setenv("PUSHSERVE_SERVER", fake_server.address)
    runner = CliRunner()
    return lambda *arguments, text=None: runner.invoke(app, arguments, input=text)


FAILURE = pb.DeploymentError(
    reason="ARTIFACT_MISSING",
    step=pb.DEPLOYMENT_STATE_CHECKING,
    message="there is no model",
    fix="commit model.joblib",
)


def test_list(run):
    """A row for each ref; the default one has a star."""
    result = run("list")

    assert 0 == result.exit_code
    assert ["MODEL", "REF", "VERSION", "COMMIT", "UPDATED", "SOURCE"] == (
        result.stdout.splitlines()[0].split()
    )
    assert re.search(
        rf"^iris\tmain\*\t2\t{COMMIT[:10]}\t.*\t{SOURCE}$", result.stdout, re.MULTILINE
    )


def test_output_in_a_pipe_is_plain(run, fake_server):
    """No colours, no frames, and a long line stays one line."""
    fake_server.service.models["iris"].source = "https://github.com/acme/" + "long" * 100

    result = run("list", "iris")

    assert 2 == len(result.stdout.splitlines())
    assert "\x1b" not in result.stdout


def test_list_as_json(run):
    """Scripts get every field."""
    models = json.loads(run("list", "--json").stdout)

    assert ["echo", "iris"] == [model["name"] for model in models]
    assert "2023-11-14T22:13:20Z" == models[0]["create_time"]


def test_an_empty_list_says_what_to_do(run, fake_server):
    """A pipe still gets nothing."""
    fake_server.service.models.clear()

    result = run("list")

    assert ("", 0) == (result.stdout, result.exit_code)
    assert "pushserve register" in result.stderr


def test_the_server_can_be_named_in_both_places(run, fake_server, monkeypatch):
    """Before the command and after it."""
    monkeypatch.delenv("PUSHSERVE_SERVER")

    assert 0 == run("--server", fake_server.address, "list").exit_code
    assert 0 == run("list", "--server", fake_server.address).exit_code


def test_no_server_there(run):
    """One line says so, the next what to do."""
    result = run("list", "--server", "127.0.0.1:1")

    assert 1 == result.exit_code
    assert "error: no server answers at 127.0.0.1:1\nStart one with" in result.stderr
    assert "Traceback" not in result.stderr


def test_get(run):
    """Refs, signature and versions."""
    result = run("get", "iris")

    assert 0 == result.exit_code
    assert re.search(r"^length\tfloat64\tno$", result.stdout, re.MULTILINE)
    assert re.search(r"^code\tstring\tyes$", result.stdout, re.MULTILINE)
    assert 2 == json.loads(run("get", "iris", "--json").stdout)["version"]["number"]


def test_an_unknown_model(run):
    """The server's words, and where to look."""
    result = run("get", "iriss")

    assert 1 == result.exit_code
    assert "error: there is no model 'iriss'" in result.stderr
    assert "pushserve list" in result.stderr


def test_options_that_contradict_each_other(run, fake_server):
    """Refused before the server is asked."""
    result = run("get", "iris", "--ref", "main", "--version", "2")

    assert 2 == result.exit_code
    assert [] == fake_server.service.requests


def test_register_without_following(run, fake_server):
    """The deployment's name and nothing else, for scripts."""
    result = run("register", SOURCE, "--ref", "main", "--path", "m", "--model", "x", "--no-follow")

    assert (0, "d1\n") == (result.exit_code, result.stdout)
    request = fake_server.service.requests[-1]
    assert (SOURCE, "main", "m", "x") == (
        request.source,
        request.ref,
        request.path,
        request.model,
    )


def test_register_on_a_pinned_ref(run, fake_server):
    """What was pushed is ready; another version answers, and the command does not say otherwise."""
    service = fake_server.service
    service.script("d1", pb.DEPLOYMENT_STATE_READY, version=3)
    service.models["iris"].refs[0].pinned = True
    service.models["iris"].refs[0].latest_version = 3

    result = run("deployment", "d1", "--follow")

    assert 0 == result.exit_code
    assert "live" not in result.stdout
    assert "refs/heads/main is pinned to version 2, which answers until" in result.stdout
    assert "pushserve unpin iris --ref refs/heads/main" in result.stdout


def test_register_a_local_folder(run, fake_server, tmp_path):
    """The server gets a URL: its own working directory is another one."""
    result = run("register", str(tmp_path), "--no-follow")

    assert tmp_path.as_uri() == fake_server.service.requests[-1].source
    assert 1 == result.exit_code


@pytest.mark.parametrize("source", ["no such folder", "models/irsi", "acme"])
def test_register_a_folder_that_there_is_not(run, fake_server, source):
    """The server would say that it is no URL, though a folder was meant."""
    result = run("register", source)

    assert 2 == result.exit_code
    assert "is no folder here, and no clone URL" in " ".join(result.stderr.replace("│", "").split())
    assert [] == fake_server.service.requests


def test_follow_to_ready(run, fake_server):
    """Each stage with its time, then where it is served."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=3)

    result = run("deployment", "d", "--follow")

    assert 0 == result.exit_code
    assert ["queued", "fetching", "building"] == re.findall(
        r"^  (\w+) +1.00 s", result.stdout, re.MULTILINE
    )
    assert f"live: iris version 3 (commit {COMMIT[:10]}) at refs/heads/main" in result.stdout


def test_follow_to_failed(run, fake_server):
    """Exit code 1, the reason, what to change, and the command that tries it again."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_FAILED, error=FAILURE)

    result = run("deployment", "d", "--follow")

    assert 1 == result.exit_code
    assert (
        "error: ARTIFACT_MISSING while checking: there is no model\ncommit model.joblib\n"
        "to try the same commit again: pushserve register https://github.com/acme/iris "
        "--ref refs/heads/main --retry\n" == result.stderr
    )


def test_follow_the_newer_one(run, fake_server):
    """What superseded it is what goes live."""
    fake_server.service.script("old", pb.DEPLOYMENT_STATE_SUPERSEDED, superseded_by="new")
    fake_server.service.script("new", pb.DEPLOYMENT_STATE_FAILED, error=FAILURE)

    result = run("deployment", "old", "--follow")

    assert 1 == result.exit_code
    assert "superseded by new" in result.stdout


def test_a_source_that_is_refused(run):
    """The server's words."""
    result = run("register", "https://example.org/x")

    assert (1, "error: https://example.org/x is not listed\n") == (
        result.exit_code,
        result.stderr,
    )


def test_a_bad_field_is_named(run):
    """With what would be right."""
    result = run("register", SOURCE, "--ref=-x")

    assert "  ref: no ref starts with '-'" in result.stderr


def test_control_characters_are_not_printed(run, fake_server):
    """A repository's words cannot drive the terminal."""
    nasty = pb.DeploymentError(reason="X", message="a\x1b[2Jb", fix="c\x07")
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_FAILED, error=nasty)

    result = run("deployment", "d")

    assert "a?[2Jb" in result.stderr
    assert not set("\x1b\x07") & set(result.stdout + result.stderr)


def test_deployments(run, fake_server):
    """Newest first, filtered, as many as asked for."""
    for name in ("a", "b", "c"):
        fake_server.service.script(name, pb.DEPLOYMENT_STATE_READY)
    fake_server.service.script("bad", pb.DEPLOYMENT_STATE_FAILED, error=FAILURE)

    table = run("deployments").stdout
    ready = json.loads(run("deployments", "--state", "ready", "--limit", "2", "--json").stdout)

    assert re.search(
        r"^bad\tiris\tmain\t.*FAILED\t.*\tARTIFACT_MISSING: there is no", table, re.MULTILINE
    )
    assert ["c", "b"] == [one["name"] for one in ready]


def test_pin_unpin_delete(run, fake_server):
    """Each says what is so now."""
    assert "is held on version 1" in run("pin", "iris", "--version", "1").stdout
    assert "follows Git, at version 2" in run("unpin", "iris").stdout
    assert 1 == run("delete", "iris", text="n\n").exit_code
    assert "iris" in fake_server.service.models
    assert "no longer served: refs/heads/main" in run("delete", "iris", "--yes").stdout
    assert "iris" not in fake_server.service.models


CSV = "code,length\n007,5\n,0.5\n"


@pytest.mark.parametrize("where", ["stdin", "file", "data"])
def test_predict_from_csv(run, fake_server, tmp_path, where):
    """The signature keeps 007 a text; an empty cell is null."""
    file = tmp_path / "rows.csv"
    file.write_text(CSV)
    arguments = {"stdin": ("-",), "file": (str(file),), "data": ("--data", CSV)}[where]

    result = run("predict", "iris", *arguments, text=CSV if where == "stdin" else None)

    code, length = fake_server.service.requests[-1].table.columns
    assert (["007", ""], [1]) == (list(code.strings.values), list(code.null_rows))
    assert [5.0, 0.5] == list(length.doubles.values)
    assert re.search(r"^big\t1\t0$", result.stdout, re.MULTILINE)
    assert re.search(r"^small\t0.25\t0.75$", result.stdout, re.MULTILINE)
    assert "iris version 2" in result.stderr


def test_predict_as_csv(run):
    """What comes out can go into a file."""
    result = run("predict", "iris", "--format", "csv", text=CSV)

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert ["big", "small"] == [row["label"] for row in rows]
    assert "0.75" == rows[1]["probabilities[small]"]


def test_predict_json_in_and_out(run):
    """Objects in, arrays out."""
    result = run("predict", "iris", "--format", "json", text='[{"length": 5}, {"length": 0}]')

    reply = json.loads(result.stdout)
    assert ["big", "small"] == reply["outputs"]["label"]
    assert ["big", "small"] == reply["classes"]["probabilities"]
    assert ("iris", 2, COMMIT, "onnx") == tuple(
        reply[name] for name in ("model", "version", "commit", "engine")
    )


def test_predict_of_any_object(run, fake_server):
    """Lists in one object are not columns where the model takes any object."""
    result = run("predict", "echo", "--format", "json", text='{"a": [1, 2], "b": "x"}')

    assert [{"a": [1, 2], "b": "x"}] == json.loads(result.stdout)["rows"]


def test_predict_with_options(run, fake_server):
    """Target and outputs arrive, with Get as with Predict."""
    run("predict", "iris", "--version", "2", "--output", "label", text=CSV)

    get, predict = fake_server.service.requests
    assert (2, 2, ["label"]) == (get.version, predict.version, list(predict.outputs))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length,code\nx,1\n", "line 2, column 'length': 'x' is not a number"),
        ("length,code\n1\n", "line 2 has 1 cells; the header has 2"),
        ("length,length\n1,2\n", "names these columns twice: length"),
        ("5.1,abc\n1,2\n", "the first line must name the columns: length,code"),
        (
            "length,code\n",
            "has no rows: give CSV with a line of column names, then the rows; or JSON, a list",
        ),
        ("", "has no rows"),
        ("[", "is not JSON"),
        ("[]", "has no rows"),
        ('[{"length": 1}, 2]', "of different kinds"),
    ],
)
def test_rows_that_cannot_be_read(run, text, message):
    """Line and column are named."""
    result = run("predict", "iris", text=text)

    assert 1 == result.exit_code
    assert message in result.stderr


def test_a_file_that_is_not_there(run):
    """It is named."""
    result = run("predict", "iris", "/no/such/rows.csv")

    assert 2 == result.exit_code
    assert "No such file" in result.stderr


def test_a_fault_of_the_server(run, fake_server):
    """No traceback, whatever the server says."""
    fake_server.service.faults.append(grpc.StatusCode.INTERNAL)

    result = run("list")

    assert (1, "error: a fault of the test: INTERNAL\nTry again in 1.5 s.\n") == (
        result.exit_code,
        result.stderr,
    )


def test_ctrl_c_ends_the_following_only(fake_server):
    """The deployment goes on, and the command says how to look again."""
    fake_server.service.deployments["d"] = pb.Deployment(name="d", state=pb.DEPLOYMENT_STATE_QUEUED)
    deployment = fake_server.service.deployments["d"]
    deployment.events.add(state=pb.DEPLOYMENT_STATE_QUEUED)
    fake_server.service.stalls = True
    process = subprocess.Popen(
        [sys.executable, "-m", "pushserve_client.main", "deployment", "d", "--follow"],
        env=os.environ | {"PUSHSERVE_SERVER": fake_server.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "deployment d\n" == process.stdout.readline()
    assert fake_server.service.watched.wait(timeout=20)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)

    assert 130 == process.returncode
    assert "the deployment continues; to follow it: pushserve deployment d --follow" in stderr


def test_a_terminal_gets_colours(fake_server):
    """The same command where somebody looks."""
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_READY, version=3)
    shown = in_a_terminal(fake_server, "deployment", "d", "--follow")

    assert "\x1b[32mlive: iris version 3" in shown
    assert "queued" in shown


def in_a_terminal(fake_server, *arguments) -> str:
    code, shown = terminal.in_a_terminal(fake_server.address, *arguments)
    assert 0 == code
    return shown


def test_reading_needs_no_numpy():
    """`pushserve list` starts fast: what it does not need is not loaded."""
    code = (
        "import sys, pushserve_client.cli.app; "
        "print([m for m in ('numpy', 'pandas', 'sklearn', 'flask', 'peewee', "
        "'pushserve_server', 'pushserve_webhook') if m in sys.modules])"
    )

    assert "[]\n" == subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
