"""What a build depends on is in its key, and nothing else."""

from dataclasses import replace

import pytest

from pushserve_server.build import build_key as module
from pushserve_server.build.build_key import build_key
from pushserve_server.domain.records import Trust
from pushserve_server.settings import Settings

FILES = [("model.pkl", "a" * 40), ("predict.py", "b" * 40)]
SETTINGS = Settings()
KEY = build_key(FILES, Trust.CODE, SETTINGS)


def test_the_same_is_the_same_in_any_order():
    assert KEY == build_key(reversed(FILES), Trust.CODE, replace(SETTINGS, max_rows=7))


@pytest.mark.parametrize(
    "files",
    [
        FILES[:1],
        [*FILES, ("more.txt", "c" * 40)],
        [("model.pkl", "c" * 40), FILES[1]],
        [("model.joblib", "a" * 40), FILES[1]],
        [("model.pkl", "b" * 40), ("predict.py", "a" * 40)],
    ],
)
def test_other_files_are_another_build(files):
    assert KEY != build_key(files, Trust.CODE, SETTINGS)


@pytest.mark.parametrize(
    "changes",
    [
        {"skops_trusted_types": ()},
        {"build_timeout": 1.0},
        {"sandbox_memory": 1},
        {"max_artifact": 1},
    ],
)
def test_other_settings_of_builds_are_another_build(changes):
    assert KEY != build_key(FILES, Trust.CODE, replace(SETTINGS, **changes))


def test_another_trust_is_another_build():
    assert KEY != build_key(FILES, Trust.DATA, SETTINGS)


def test_another_environment_is_another_build(monkeypatch):
    """An upgrade of the server, of scikit-learn or of anything else."""
    packages = module._environment().splitlines()
    assert any(line.startswith("scikit-learn==") for line in packages)
    assert any(line.startswith("pushserve==") for line in packages)
    monkeypatch.setattr(module, "_environment", lambda: "\n".join([*packages, "rose==1"]))
    assert KEY != build_key(FILES, Trust.CODE, SETTINGS)
