"""docs/threats.md names tests that there are, one at least for each threat."""

import re

from tests.fixtures.import_rules import ROOT

PAGE = (ROOT / "docs" / "threats.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| [^|-]", line)]


def test_each_test_is_there():
    there = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 30
    assert set() == {name for name in named if f"def {name}(" not in there}


def test_each_threat_has_one():
    threats = [row for row in ROWS if not row.startswith("| threat |")]
    assert len(threats) > 20
    assert [] == [row for row in threats if "`test_" not in row]
