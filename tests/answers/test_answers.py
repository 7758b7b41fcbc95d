"""Random pipelines answer through every door as scikit-learn does (2,000: `make test-answers`)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seed", "pipelines"), [(0, 12), pytest.param(1, 150, marks=pytest.mark.long)]
)
def test_random_pipelines_answer_as_their_authors_expect(seed, pipelines):
    """A seed that fails is printed with the command that runs it again."""
    arguments = ["--pipelines", str(pipelines), "--seed", str(seed), "--quick"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.answers.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"pipelines fitted: {pipelines} " in done.stdout
