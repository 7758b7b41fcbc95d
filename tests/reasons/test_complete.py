"""The walk is complete: every reason of docs/errors.md has a case, or a test of its fault."""

import importlib
import re
from pathlib import Path

import pytest

from tests.fixtures.import_rules import ROOT

FOLDER = Path(__file__).parent
HEADINGS = ("Reasons of pushes",)

# What only a fault of the environment brings about, and the test that has it.
FAULTS = {
    "Reasons of pushes": {
        "SIGNATURE_TOO_LARGE": "test_a_signature_that_is_too_large_is_refused",
        "BUILD_FAILED": "test_what_a_build_raised_is_told",
        "SANDBOX_UNAVAILABLE": "test_a_child_that_never_got_into_its_jail_is_the_servers_fault",
        "REBUILD_DIFFERS": "test_a_bundle_with_another_signature_is_not_put_under_a_version",
    },
    "Reasons of calls": {},
    "Reasons of the webhook": {},
}


def documented(heading: str) -> dict[str, list[str]]:
    """Give the cells of each reason's row below a heading."""
    text = (ROOT / "docs" / "errors.md").read_text()
    section = re.split(r"(?m)^#+ ", text.partition(f"# {heading}\n")[2])[0]
    rows = re.findall(r"(?m)^\| `([A-Z_]+)` \|(.*)\|$", section)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


def walked(prefix: str) -> set[str]:
    """Give the reasons of the cases of the files that begin so."""
    found: set[str] = set()
    for path in FOLDER.glob(f"{prefix}*.py"):
        module = importlib.import_module(f"tests.reasons.{path.stem}")
        for value in vars(module).values():
            for mark in getattr(value, "pytestmark", []):
                found |= set(mark.args) if mark.name == "reason" else set()
    return found


FILES = {
    "Reasons of pushes": ("test_pushes", "test_operator"),
    "Reasons of calls": ("test_calls",),
    "Reasons of the webhook": ("test_webhook",),
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_reason_has_a_case(heading: str):
    there = set().union(*map(walked, FILES[heading])) | set(FAULTS[heading])
    assert set(documented(heading)) == there & set(documented(heading))
    assert set() == there - {name for each in HEADINGS for name in documented(each)}


@pytest.mark.parametrize("heading", HEADINGS)
def test_no_reason_has_both_a_case_and_a_fault(heading: str):
    assert set() == set().union(*map(walked, FILES[heading])) & set(FAULTS[heading])


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_tests_of_faults_are_there_and_speak_of_the_reason(heading: str):
    files = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    for reason, test in FAULTS[heading].items():
        where = [text for text in files.values() if f"def {test}(" in text]
        assert 1 == len(where), test
        assert reason in where[0]
