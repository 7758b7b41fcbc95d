"""Fixtures that several files share stand in tests/fixtures, one module for each topic."""

import os

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

pytest_plugins = [
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
