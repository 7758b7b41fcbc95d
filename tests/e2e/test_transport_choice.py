"""Which transport carries the calls: chosen by a trial call, whose verdict is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pushserve_server.processes import transport_choice
from pushserve_server.processes.transport_choice import choose_transport
from pushserve_server.settings import Settings
from tests.fixtures import models
from tests.fixtures.served import start, stop

BROKEN = "import sys\nsys.modules['pushserve_server.api.transport.core_binding'] = None\n"
"""Another grpcio: what the core transport needs of it is not there."""


@pytest.mark.parametrize(
    "broken",
    [  # test_getting_started.py starts a server of the first kind
        pytest.param(False, id="this grpcio", marks=pytest.mark.long),
        pytest.param(True, id="another one", marks=pytest.mark.long),
    ],
)
def test_a_server_serves_by_what_works(broken, hub, tmp_path, monkeypatch):
    if broken:
        (tmp_path / "patch").mkdir()
        (tmp_path / "patch" / "sitecustomize.py").write_text(BROKEN)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patch"))
    repo = hub.create(f"transport-{broken}".lower())
    repo.commit({"model.joblib": models.dumped(models.iris_forest())})
    sources = f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n'
    server = start(tmp_path / "data", sources, {"transport": "auto", "frontends": 1})
    try:
        server.ready(repo.url)
        rows = models.iris_frame().iloc[[0, 60, 140]].to_numpy()
        reply = server.predict(f"transport-{broken}".lower(), rows.tolist())
        expected = models.iris_forest().predict(models.iris_frame().iloc[[0, 60, 140]])
        assert list(expected) == list(reply.outputs[0].strings.values)
    finally:
        stop(server)
    log = server.log.read_text()
    assert broken == ("calls are carried by grpc.aio" in log)
    assert broken == bool(json.loads((tmp_path / "data/transport.json").read_text())["problem"])


@pytest.fixture
def trials(monkeypatch) -> list[str]:
    """What each trial call says went wrong, the next one first; those made are taken off."""
    results = ["", "it ended with signal 11"]
    monkeypatch.setattr(transport_choice, "_try_core", lambda: results.pop(0))
    return results


def test_a_verdict_is_kept_for_one_build_of_grpcio(trials, tmp_path, monkeypatch):
    assert "core" == choose_transport(Settings(), tmp_path)
    assert "core" == choose_transport(Settings(), tmp_path)
    assert 1 == len(trials)
    monkeypatch.setattr(transport_choice, "_build", lambda: {"grpcio": "9.9"})
    assert "aio" == choose_transport(Settings(), tmp_path)
    assert "aio" == choose_transport(Settings(), tmp_path)
    assert [] == trials


@pytest.mark.parametrize("text", ["", "[]", "{", '{"build": 1}', "\0"])
def test_a_verdict_that_cannot_be_read_is_made_anew(text, trials, tmp_path):
    (tmp_path / "transport.json").write_text(text)
    assert "core" == choose_transport(Settings(), tmp_path)
    assert 1 == len(trials)


@pytest.mark.parametrize("name", ["core", "aio"])
def test_the_operator_s_choice_needs_no_trial(name, trials, tmp_path):
    assert name == choose_transport(Settings(transport=name), Path("/nowhere"))
    assert 2 == len(trials)
