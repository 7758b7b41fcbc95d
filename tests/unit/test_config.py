"""Settings: where they come from, and what is said when one is wrong."""

import json
import re
from dataclasses import astuple, fields
from pathlib import Path

import pytest

from pushserve_server.config import load_settings
from pushserve_server.domain.records import Trust
from pushserve_server.settings import ConfigError, Settings, SourceRule

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("PUSHSERVE_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)


def refused(overrides=None):
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides)
    return str(caught.value)


def test_defaults_are_loopback_and_refuse_every_source():
    settings = load_settings()
    assert "127.0.0.1:50051" == settings.listen
    assert () == settings.sources
    assert settings.database.startswith("sqlite:////")


def test_environment_comes_before_the_file(monkeypatch, tmp_path):
    file = tmp_path / "server.toml"
    file.write_text(
        'listen = "127.0.0.1:1"\nmax_rows = 7\n[[sources]]\nurl = "https://h/*"\ntrust = "code"\n'
    )
    monkeypatch.setenv("PUSHSERVE_CONFIG", str(file))
    monkeypatch.setenv("PUSHSERVE_LISTEN", "127.0.0.1:2")
    settings = load_settings()
    assert ("127.0.0.1:2", 7) == (settings.listen, settings.max_rows)
    assert [("https://h/*", Trust.CODE)] == [(s.url, s.trust) for s in settings.sources]


def test_arguments_come_first(monkeypatch):
    monkeypatch.setenv("PUSHSERVE_LISTEN", "127.0.0.1:2")
    assert "127.0.0.1:3" == load_settings({"listen": "127.0.0.1:3"}).listen


def test_database_url_is_read_and_not_shown(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    settings = load_settings()
    assert "postgresql://u:hunter2@h/d" == settings.database
    assert "hunter2" not in repr(settings)


def test_every_mistake_is_named_at_once():
    said = refused({"max_rows": 0, "max_request": "3 foos", "log_level": "loud"})
    named = re.findall(r"^(\w+):", said, re.MULTILINE)
    assert {"max_rows", "max_request", "log_level"} == set(named)
    assert '"64 MiB"' in said


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1"])
def test_off_loopback_needs_the_flag_that_says_it_is_insecure(address):
    assert "insecure_listen_off_loopback" in refused({"listen": address})
    assert load_settings({"listen": address, "insecure_listen_off_loopback": True})


@pytest.mark.parametrize("address", ["50051", "localhost", ":1", "localhost:99999", "h:p"])
def test_what_an_address_is(address):
    assert "host:port" in refused({"listen": address})


def test_a_misspelt_variable_is_named(monkeypatch):
    monkeypatch.setenv("PUSHSERVE_LISTENN", "127.0.0.1:1")
    monkeypatch.setenv("PUSHSERVE_QUOTA", "1")
    assert (
        "PUSHSERVE_LISTENN: no such setting in the environment. Did you mean 'PUSHSERVE_LISTEN'?\n"
        "PUSHSERVE_QUOTA: no such setting in the environment"
    ) == refused()


def test_a_misspelt_key_in_the_file_is_named(monkeypatch, tmp_path):
    file = tmp_path / "server.toml"
    file.write_text('listenn = 1\n[[sources]]\nurl = "https://h/*"\ntrsut = "code"\n')
    monkeypatch.setenv("PUSHSERVE_CONFIG", str(file))
    assert (
        "sources.0.trsut: no such setting. Did you mean 'trust'?\n"
        "listenn: no such setting. Did you mean 'listen'?"
    ) == refused()


@pytest.mark.parametrize("content", [None, "= nonsense", '[[sources]]\nurl = "x"\ntrust = "all"'])
def test_a_bad_file_is_named(monkeypatch, tmp_path, content):
    file = tmp_path / "server.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("PUSHSERVE_CONFIG", str(file))
    said = refused()
    assert str(file) in said or "sources.0.trust" in said


@pytest.mark.parametrize(("text", "size"), [("3", 3), ("2 KiB", 2048), ("1MiB", 1048576)])
def test_sizes(text, size):
    assert size == load_settings({"max_request": text}).max_request


def test_other_processes_get_the_same_settings():
    """They are sent as JSON, which has neither paths nor tuples nor types of ours."""
    given = Settings(
        database_url="postgresql://u:secret@h/d",
        data_dir=Path("/srv/push"),
        sources=(SourceRule("https://h/*", Trust.CODE), SourceRule("file:///a")),
        preload=("a*", "b"),
        max_wait=0.5,
        insecure_listen_off_loopback=True,
    )
    for settings in (given, Settings()):
        sent = Settings.from_json(json.loads(json.dumps(settings.to_json())))
        assert settings == sent
        assert [type(value) for value in astuple(settings)] == [type(v) for v in astuple(sent)]


def test_env_example_names_every_setting_with_its_default():
    text = (ROOT / "env.example").read_text()
    given = dict(re.findall(r"^#? ?PUSHSERVE_(\w+)=(.*)$", text, re.MULTILINE))
    assert {field.name.upper() for field in fields(Settings)} - given.keys() == {"DATABASE_URL"}
    defaults = load_settings()
    for line in text.splitlines():
        if line.startswith("PUSHSERVE_"):
            name, _, value = line.partition("=")
            field = name.removeprefix("PUSHSERVE_").lower()
            loaded = load_settings({field: value})
            assert getattr(defaults, field) == getattr(loaded, field), line


ADDRESS = "10.96.12.7"
KUBERNETES = {
    "SERVICE_HOST": ADDRESS,
    "SERVICE_PORT": "8500",
    "SERVICE_PORT_GRPC": "8500",
    "SERVICE_PORT_GRPC_WEB": "8501",
    "PORT": f"tcp://{ADDRESS}:8500",
    "PORT_8500_TCP": f"tcp://{ADDRESS}:8500",
    "PORT_8500_TCP_PROTO": "tcp",
    "PORT_8500_TCP_PORT": "8500",
    "PORT_8500_TCP_ADDR": ADDRESS,
    "PORT_53_UDP": f"udp://{ADDRESS}:53",
    "PORT_53_UDP_PROTO": "udp",
    "PORT_9_SCTP_ADDR": "fd00::7",
    "PORT_9_SCTP": "sctp://[fd00::7]:9",
}
"""As the kubelet makes them of a Service (`envvars.FromServices`)."""


@pytest.mark.parametrize("service", ["PUSHSERVE", "PUSHSERVE_BLUE", "PUSHSERVE_WEBHOOK"])
def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_setting(monkeypatch, service):
    """A Service named pushserve kept every server in its namespace from starting."""
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    assert Settings() == load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "8500"),
        ("PORT", "http://10.96.12.7:8500"),
        ("PORT", "tcp://pushserve:8500"),
        ("PORT", ""),
        ("PORT_8500_TCP", "8500"),
        ("PORT_8500_TCP_PROTO", "http"),
        ("PORT_8500_HTTP", "tcp://10.96.12.7:8500"),
        ("SERVICE_HOST", "pushserve.example.com"),
        ("SERVICE_PORT", "tcp://10.96.12.7:8500"),
        ("SERVICE_PORT_GRPC", "on"),
        ("SERVICE_PORTS", "8500"),
        ("SUPPORT", "yes"),
        ("LISTENN", "tcp://10.96.12.7:8500"),
        ("WEBHOOK_LISTEN_PORT", "8080"),
    ],
)
def test_what_only_looks_like_it_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"PUSHSERVE_{name}", value)
    assert f"PUSHSERVE_{name}: no such setting in the environment" in refused()
