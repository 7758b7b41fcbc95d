"""What reads a text from outside takes time in proportion to it, however it was made."""

import subprocess
import sys

from tests.fixtures.growth import ROOT, expressions

COMPUTED = {
    "rules.py",  # find_rule
    "failures.py",  # explained
    "manifest.py",  # parse_manifest
    "text_terms.py",  # terms
    "access_token.py",  # a fixed number of digits
}
"""Files whose expressions are put together; the function beside each is measured as a whole."""


def test_every_regular_expression_is_measured():
    """Those that are written out, by how they are used; those that are computed, by name."""
    found, computed = expressions()

    assert COMPUTED == computed
    assert 25 < len(found)
    assert [] == [expression.where for expression in found if not expression.methods]


def test_work_grows_with_the_text_and_no_faster():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.growth"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "done\n" == done.stdout, done.stderr[-500:]
