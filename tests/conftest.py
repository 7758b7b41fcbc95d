"""Fixtures that several files share stand in tests/fixtures, one module for each topic."""

import os
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

# As servers do: ONNX Runtime reports to its makers unless told not to, before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Threads of several tests that wait for each other actively take four times as long as one.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

# No outcome depends on how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

FIXTURES = [
    "tests.fixtures.fake_service",
    "tests.fixtures.git_server",
    "tests.fixtures.model_folder",
    "tests.fixtures.postgres",
    "tests.fixtures.registry",
    "tests.fixtures.served",
    "tests.fixtures.wheels",
    "tests.fixtures.worker_process",
    "tests.fixtures.zygote",
    "tests.fixtures.deploying",  # after those that it imports
    "tests.fixtures.many",
]
pytest.register_assert_rewrite(*FIXTURES)  # before a folder's conftest.py imports one


def pytest_configure(config: pytest.Config) -> None:
    """Bring the fixtures in; not into xdist's own process, which runs no test: it takes seconds."""
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        for name in FIXTURES:
            config.pluginmanager.import_plugin(name)


THIRDS = frozenset(
    {
        "test_any_depth.py",
        "test_bad_pushes.py",
        "test_bad_pushes_served.py",
        "test_branches_and_versions.py",
        "test_calls_of_control.py",
        "test_cli_csv.py",
        "test_compiler_bits.py",
        "test_compiler_boosters.py",
        "test_compiler_categories.py",
        "test_compiler_models.py",
        "test_compiler_numbers.py",
        "test_compiler_others.py",
        "test_compiler_texts.py",
        "test_deployer.py",
        "test_fast_paths.py",
        "test_graph_admission.py",
        "test_installed.py",
        "test_kinds_of_models.py",
        "test_limits.py",
        "test_old_environments.py",
        "test_open_types.py",
        "test_own_code.py",
        "test_reconciler.py",
        "test_registry_activation.py",
        "test_registry_leasing.py",
        "test_registry_models.py",
        "test_registry_pruning.py",
        "test_registry_serving.py",
        "test_sandbox_signature.py",
        "test_source_checkout.py",
        "test_source_fetch.py",
        "test_webhook_process.py",
    }
)
"""Files of many tests of one kind, of which `make test` runs about every third one."""
EIGHTHS = frozenset(
    {
        "test_operator_cures.py",
        "test_pushes.py",
        "test_pushes_and_the_server.py",
        "test_pushes_of_git.py",
        "test_token_commands.py",
        "test_untold_columns.py",
    }
)
"""Likewise, about every eighth one: each has a process, a build or a deployment of its own."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the others of those files to `make test-faults`: the same ones everywhere."""
    for item in items:
        one_of = 8 if item.path.name in EIGHTHS else 3 if item.path.name in THIRDS else 1
        if crc32(item.nodeid.encode()) % one_of:
            item.add_marker("long")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile: a folder whose files share a server goes to one worker, too."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            folder = file.rpartition("/")[0]
            return folder if folder.endswith(("/one_server", "/reasons")) else file

    return ByServer(config, log)
