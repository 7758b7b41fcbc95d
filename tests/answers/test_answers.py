"""Random pipelines answer through every door as scikit-learn does (2,000: `make test-answers`)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [0])
def test_random_pipelines_answer_as_their_authors_expect(seed):
    """A seed that fails is printed with the command that runs it again."""
    arguments = ["--pipelines", "60", "--seed", str(seed), "--quick"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.answers.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
    assert "pipelines fitted: 60" in done.stdout
