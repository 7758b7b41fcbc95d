"""`config`, `doctor`, `serve`, `version`: what runs on the server's machine."""

import json
import os
import socket
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from pushserve_client.cli.app import app
from pushserve_server.commands import doctor
from pushserve_server.settings import Settings


@pytest.fixture
def run(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("PUSHSERVE_") or n == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    # Written by --config, so it has to be put back as well.
    monkeypatch.setenv("PUSHSERVE_CONFIG", "")
    monkeypatch.setenv("PUSHSERVE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PUSHSERVE_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PUSHSERVE_WEBHOOK_LISTEN", "127.0.0.1:0")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, arguments)


def test_config_names_every_origin(run, monkeypatch, tmp_path):
    """Environment over file over default; the output is TOML."""
    file = tmp_path / "pushserve.toml"
    file.write_text(
        'frontends = 1\nlease = 3\nlog_level = "debug"\n'
        '[[sources]]\nurl = "https://u:s3same@github.com/acme/*"\ntrust = "code"\n'
    )
    monkeypatch.setenv("PUSHSERVE_LEASE", "7")
    monkeypatch.setenv("PUSHSERVE_WEBHOOK_SECRET", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:pa:ss@db/x?password=hunter2")

    result = run("config", "--config", str(file))

    assert 0 == result.exit_code
    values = tomllib.loads(result.stdout)
    assert (1, 7.0, "debug") == (values["frontends"], values["lease"], values["log_level"])
    assert "(hidden)" == values["webhook_secret"]
    assert "postgresql://me:(hidden)@db/x?(hidden)" == values["database_url"]
    assert [{"url": "https://u:(hidden)@github.com/acme/*", "trust": "code"}] == values["sources"]
    assert "lease = 7.0  # environment PUSHSERVE_LEASE\n" in result.stdout
    assert f"frontends = 1  # file {file}\n" in result.stdout
    assert "# environment DATABASE_URL\n" in result.stdout
    assert "max_rows = 65536  # default\n" in result.stdout
    for secret in ("hunter2", "pa:ss", "s3same"):
        assert secret not in result.stdout


def test_config_as_json(run):
    """For scripts."""
    values = json.loads(run("config", "--json").stdout)

    assert {"value": "127.0.0.1:0", "origin": "environment PUSHSERVE_LISTEN"} == values["listen"]


def test_every_mistake_is_named(run, monkeypatch):
    """Both at once, without a traceback."""
    monkeypatch.setenv("PUSHSERVE_LEASE", "-1")
    monkeypatch.setenv("PUSHSERVE_MAX_ROWS", "many")

    result = run("config")

    assert 1 == result.exit_code
    assert "lease: " in result.stderr
    assert "max_rows: " in result.stderr


def test_the_clients_variable_is_no_mistake(run, monkeypatch):
    """PUSHSERVE_SERVER is the command's own."""
    monkeypatch.setenv("PUSHSERVE_SERVER", "127.0.0.1:1")

    assert 0 == run("config").exit_code


def test_serve_names_a_taken_port(tmp_path):
    """Before anything is started; as a process, because the command becomes the server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "pushserve_client.main", "serve"]
        result = subprocess.run(
            [*command, "--listen", address, "--data-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert 1 == result.returncode
    assert f"cannot listen on {address}" in result.stderr


def test_doctor_on_a_machine_that_is_well(run, monkeypatch):
    """Exit code 0, a line for each."""
    monkeypatch.setenv("PUSHSERVE_SOURCES", '[{"url": "https://github.com/acme/*"}]')

    result = run("doctor")

    assert 0 == result.exit_code, result.stdout
    names = [line[8:22].strip() for line in result.stdout.splitlines()]
    assert [
        "configuration",
        "sources",
        "git",
        "sandbox",
        "data dir",
        "database",
        "access",
        "gRPC port",
        "webhook port",
    ] == names


def test_doctor_on_a_machine_that_is_not(run, monkeypatch):
    """Exit code 1, and each problem has a line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PUSHSERVE_LISTEN", f"127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
        monkeypatch.setenv("PATH", "/nowhere")
        result = run("doctor")

    lines = result.stdout.splitlines()
    problems = {line[8:22].strip(): i for i, line in enumerate(lines) if line[:7] == "problem"}
    assert 1 == result.exit_code
    assert ["sources", "git", "database", "gRPC port"] == list(problems)
    assert all(lines[i + 1].startswith(" " * 22) for i in problems.values())
    assert "hunter2" not in result.stdout


def test_doctor_on_a_wrong_configuration(run, monkeypatch):
    """It says so and stops."""
    monkeypatch.setenv("PUSHSERVE_LISTEN", "nonsense")

    result = run("doctor")

    assert 1 == result.exit_code
    assert 'an address is "host:port"' in result.stdout


def test_a_running_server_is_no_problem(fake_server):
    """Unless it is not ours."""
    check = doctor.check_port("gRPC port", fake_server.address, Settings())

    # The fake does not say that the service serves, so it counts as somebody else.
    assert check.fix
    fake_server.health.set("pushserve.v1.ModelService", 1)
    check = doctor.check_port("gRPC port", fake_server.address, Settings())
    assert "a server runs there" in check.detail


def test_a_broken_registry_is_found(tmp_path):
    """A file that is no database."""
    file = tmp_path / "registry.sqlite3"
    assert "will be made" in doctor.check_database(f"sqlite:///{file}").detail
    file.write_text("this is no database, but long enough to be taken for one" * 100)

    assert "not a database" in doctor.check_database(f"sqlite:///{file}").detail


def test_a_directory_that_cannot_be_made(tmp_path):
    """A file is in its place."""
    (tmp_path / "data").write_text("")

    assert "cannot be written" in doctor.check_data_dir(tmp_path / "data" / "x").detail


def test_version(run):
    """It is the package's."""
    assert "0.1.0\n" == run("version").stdout
