"""The walk is complete: every reason of docs/errors.md has a case, or a test of its fault."""

import importlib
import re
from pathlib import Path

import pytest

from tests.fixtures.import_rules import ROOT
from tests.reasons import test_calls

FOLDER = Path(__file__).parent
HEADINGS = ("Reasons of pushes", "Reasons of calls", "Reasons of the webhook")

# What only a fault of the environment or the operator's access rules bring about, and the test
# that does.
FAULTS = {
    "Reasons of pushes": {
        "SIGNATURE_TOO_LARGE": "test_a_signature_that_is_too_large_is_refused",
        "BUILD_FAILED": "test_what_a_build_raised_is_told",
        "SANDBOX_UNAVAILABLE": "test_a_child_that_never_got_into_its_jail_is_the_servers_fault",
        "REBUILD_DIFFERS": "test_a_bundle_with_another_signature_is_not_put_under_a_version",
    },
    "Reasons of calls": {
        "OVERLOADED": "test_each_request_of_a_stream_counts_towards_the_limit",
        "LOAD_FAILED": "test_a_worker_that_cannot_load_its_model_ends_the_wait_with_its_reason",
        "WORKER_BROKEN": "test_a_lie_ends_the_connection_and_the_worker",
        "WORKER_STARTING": "test_a_closed_engine_answers_nobody",
        "SANDBOX_UNAVAILABLE": "test_without_a_zygote_jobs_are_unavailable",
        "MIRROR_BROKEN": "test_a_broken_mirror_is_made_anew",
        "SERVER_STOPPING": "test_a_drain_under_64_callers_loses_no_call",
        "UNAVAILABLE": "test_an_error_has_its_code_text_and_details",
        "INTERNAL": "test_an_error_has_its_code_text_and_details",
        "ALREADY_EXISTS": "test_an_error_has_its_code_text_and_details",
        "FAILED_PRECONDITION": "test_an_error_has_its_code_text_and_details",
        "NOT_FOUND": "test_an_error_has_its_code_text_and_details",
        "REF_NOT_DEPLOYED": "test_refs_that_the_operator_leaves_out",
        "PATH_NOT_DEPLOYED": "test_folders",
        "TOKEN_MISSING": "test_each_kind_of_call_needs_its_token",
        "TOKEN_UNKNOWN": "test_each_kind_of_call_needs_its_token",
        "TOKEN_EXPIRED": "test_expiry_is_looked_at_in_each_call",
        "TOKEN_REVOKED": "test_a_revoked_token_and_one_that_is_gone",
        "SCOPE_MISSING": "test_each_kind_of_call_needs_its_token",
        "MODEL_NOT_ALLOWED": "test_a_token_for_some_models_sees_no_others",
    },
    "Reasons of the webhook": {
        "TOKEN_REFUSED": "test_the_webhook_calls_by_its_token_and_takes_a_new_one",
    },
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
    "Reasons of calls": ("test_calls", "test_operator"),
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


def test_the_page_has_the_status_codes_that_calls_get():
    page = documented("Reasons of calls")
    codes = {case.reason: case.code for case in test_calls.CASES.values()}
    assert codes == {reason: page[reason][0].strip("`") for reason in codes}
