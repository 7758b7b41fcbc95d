"""Every reason of a push: brought about by its files, cured as its fix is worded, and live."""

import re
import sys
import sysconfig
from typing import Any

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served
from tests.reasons import file_cases, model_cases, trial_cases
from tests.reasons.push_case import PushCase

CASES = {**file_cases.CASES, **model_cases.CASES, **trial_cases.CASES}
SERVER_WORDS = ("pushserve_sandbox", "pushserve_server", "Traceback", "/bundles/", ".work-")


def cases() -> list[Any]:
    """Give each case by its name; of several of one reason, `make test` runs the first."""
    first: dict[str, str] = {}
    for name, case in CASES.items():
        first.setdefault(case.reason, name)
    return [
        pytest.param(name, marks=[pytest.mark.long] * (first[case.reason] != name))
        for name, case in CASES.items()
    ]


@pytest.mark.reason(*{case.reason for case in CASES.values()})
@pytest.mark.parametrize("name", cases())
def test_the_fix_of_a_push_cures_it(served: Served, hub: GitHost, name: str):
    case = CASES[name]
    repo = hub.create(name.replace(" ", "-"))
    repo.force(case.files)
    error = served.failed(repo.url)
    check(error, case, served)
    repo.force(case.cured(error.fix))
    after = served.register(repo.url)
    assert case.then == after.error.reason, (error.fix, after.error)
    if not case.then:
        assert pb.DEPLOYMENT_STATE_READY == after.state


def check(error: pb.DeploymentError, case: PushCase, served: Served) -> None:
    """Check the reason, what the text names, and that it reads well and tells nothing else."""
    assert case.reason == error.reason, str(error)
    assert case.said in error.message
    assert case.follows in error.fix
    text = f"{error.message}\n{error.fix}"
    private = (*SERVER_WORDS, str(served.data_dir), sys.prefix, sysconfig.get_path("stdlib"))
    assert [] == [word for word in private if word in text]
    assert not error.message.endswith("."), "a message is a phrase"
    assert re.match(r"[A-Z`\[]", error.fix), "a fix is a sentence"
