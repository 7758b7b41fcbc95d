"""The transports with the newest grpcio, beside the oldest, which the other tests run with."""

from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.fixtures.wheels import ROOT, Install

pytestmark = pytest.mark.slow

SHARE = "streams or drain or stall or gave_up or has_its_code or compression or health or tls"
"""Of the conformance suite: what leans on the core's binding or on grpc.aio's edges."""
NEEDS = (
    *("grpcio-health-checking", "grpcio-reflection", "googleapis-common-protos", "numpy"),
    *("annotated-types", "peewee", "h2", "trustme", "pytest", "pytest-timeout"),
)


def test_the_oldest_grpcio_is_the_one_that_tests_run_with():
    (grpcio,) = (
        requirement
        for requirement in map(Requirement, metadata.requires("pushserve") or ())
        if requirement.name == "grpcio"
    )
    assert f">={metadata.version('grpcio')}" in str(grpcio.specifier)
    assert "<" not in str(grpcio.specifier)


@pytest.mark.long
def test_calls_with_the_newest_grpcio(install: Install):
    environment = install("--upgrade", "grpcio", *NEEDS)
    done = environment.run(
        environment.python, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider",
        "-k", SHARE, "tests/conformance",
        cwd=ROOT,
        PYTHONPATH=":".join(str(ROOT / part) for part in (".", "server", "clients")),
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-3000:]
    assert " passed" in done.stdout
