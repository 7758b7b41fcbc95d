"""Imports point one way; read from the source, so that nothing hides behind a lazy import."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server" / "pushserve_server"

ALLOWED = {
    "domain": set(),
    "errors": set(),
    "wakeups": set(),
    "settings": {"domain"},
    "config": {"settings"},
    "data_layout": {"settings"},
    "registry": {"domain", "errors"},
    "sandbox_client": {"errors"},
    "source": {"domain", "errors", "settings"},
    "build": {"domain", "errors", "settings", "sandbox_client"},
    "serve": {"domain", "errors", "registry", "wakeups", "build"},
    "deploy": {
        "domain", "errors", "registry", "wakeups", "build", "settings", "sandbox_client", "source",
    },
    "workers": {
        "domain", "errors", "registry", "build", "serve", "sandbox_client", "settings",
        "data_layout",
    },
    "api": {"domain", "errors", "registry", "settings", "serve", "deploy"},
}  # fmt: skip


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert 0 == node.level, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(room: str) -> list[Path]:
    folder = SERVER / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [SERVER / f"{room}.py"]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room):
    for path in files(room):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "pushserve_server" and len(parts) > 1 and parts[1] != room:
                assert parts[1] in ALLOWED[room], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", sorted(ALLOWED.keys() - {"api"}))
def test_only_the_api_knows_grpc_and_the_stubs(room):
    for path in files(room):
        tops = {name.split(".")[0] for name in imported(path)}
        assert set() == tops & {"grpc", "pushserve", "google"}, path


def test_what_runs_in_the_sandbox_imports_nothing_of_the_server():
    for path in (ROOT / "server" / "pushserve_sandbox").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert set() == tops & {"pushserve_server", "pushserve_client", "pushserve", "grpc"}, path


def test_the_webhook_never_imports_the_server():
    for path in (ROOT / "webhook").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert set() == tops & {"pushserve_server", "pushserve_sandbox"}, path


def test_every_room_is_in_the_table():
    rooms = {p.stem for p in SERVER.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms == ALLOWED.keys() | {"__init__", "processes", "commands"}


def test_the_client_imports_little_and_nothing_of_the_others():
    """It is installed where other things are; NumPy and pandas only where they are there."""
    third_party = {"google", "grpc", "numpy", "pandas", "rich", "typer", "typing_extensions"}
    ours = {"pushserve", "pushserve_client"}
    for path in (ROOT / "clients").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert set() == tops - third_party - ours - sys.stdlib_module_names, path
        names = {name for name in imported(path) if name.startswith("google.")}
        assert all(name.startswith("google.protobuf") for name in names), path
