"""Frames of Polars, PyArrow and others, in an environment that has them.

The tests' own has not: where PyArrow is, pandas keeps its texts by it.
"""

from pathlib import Path

import pytest

from tests.fixtures.wheels import ROOT, Install

pytestmark = pytest.mark.slow

CASES = Path(__file__).with_name("frame_cases.py")
OTHERS = ("polars", "pyarrow", "pandas", "nanoarrow", "pytest")


@pytest.mark.long
def test_frames_of_other_libraries(wheels: dict[str, Path], install: Install):
    environment = install(wheels["pushserve-client"], *OTHERS)

    done = environment.run(
        environment.python, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider",
        "-c", "/dev/null", "--rootdir", environment.folder, CASES,
        cwd=ROOT,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
