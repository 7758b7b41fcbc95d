"""Reasons of pushes that lie in the server: each is brought about, mended, and tried again."""

from dataclasses import replace

import pytest

from pushserve_server.domain.states import DeploymentState as S
from tests.fixtures.deploying import Yard
from tests.reasons.push_case import good_model

GOOD = {"model.joblib": good_model()}


def failed(yard: Yard, deployment, reason: str, fix: str) -> None:
    done = yard.ended(deployment)
    assert (S.FAILED, reason) == (done.state, done.failure.reason)
    assert fix in done.failure.fix


def is_live(yard: Yard, **changes: object) -> bool:
    return S.READY is yard.ended(yard.register(**changes)).state


@pytest.mark.reason("LOAD_TIMEOUT")
def test_a_frontend_that_does_not_load_it(yard: Yard):
    yard.registry.frontend_started("f1", "r")
    with yard.deployer(load_timeout=1):
        deployment = yard.push(GOOD)
        failed(yard, deployment, "LOAD_TIMEOUT", "Register it again with --retry")
        yard.registry.frontend_stopped("f1")
        assert is_live(yard, retry=True)


@pytest.mark.reason("GAVE_UP")
def test_a_server_that_stopped_ten_times(yard: Yard):
    deployment = yard.push(GOOD)
    with yard.registry._store.writing() as tables:
        tables.deployments.update(attempt=10).execute()
    with yard.deployer():
        failed(yard, deployment, "GAVE_UP", "then register it again with --retry")
        assert is_live(yard, retry=True)


@pytest.mark.reason("INTERNAL")
def test_a_folder_of_bundles_that_is_none(yard: Yard):
    bundles = yard.settings.data_dir / "bundles"
    bundles.parent.mkdir(parents=True, exist_ok=True)
    bundles.write_text("no folder")
    with yard.deployer():
        failed(yard, yard.push(GOOD), "INTERNAL", "Register it again with --retry")
        bundles.unlink()
        assert is_live(yard, retry=True)


@pytest.mark.reason("SOURCE_NOT_ALLOWED")
def test_a_source_that_is_taken_off_the_list_before_it_is_fetched(yard: Yard):
    deployment = yard.push(GOOD)
    with yard.deployer(sources=()):
        failed(yard, deployment, "SOURCE_NOT_ALLOWED", "register it again with --retry")
    with yard.deployer():
        assert is_live(yard, retry=True)


@pytest.mark.reason("REF_NOT_DEPLOYED", "PATH_NOT_DEPLOYED")
@pytest.mark.parametrize(
    ("reason", "globs", "fix"),
    [
        ("REF_NOT_DEPLOYED", {"refs": ("release-*",)}, "Push to a branch or tag that these globs"),
        ("PATH_NOT_DEPLOYED", {"paths": ("models/*",)}, "Move the model to a folder that these"),
    ],
)
def test_a_ref_or_folder_that_the_operator_leaves_out_meanwhile(yard: Yard, reason, globs, fix):
    files = {**GOOD, "models/a/model.joblib": good_model()}
    rule = replace(yard.settings.sources[1], **globs)
    deployment = yard.push(files)
    with yard.deployer(sources=(rule,)):
        failed(yard, deployment, reason, fix)
    with yard.deployer():
        assert is_live(yard, retry=True)


@pytest.mark.reason("DELETED")
def test_a_model_that_is_deleted_while_it_is_fetched(yard: Yard, git_host):
    with yard.deployer():
        yard.live(GOOD)
        deployment = yard.push({**GOOD, "README.md": "more"})
        with git_host.hold() as held:
            yard.until_state(deployment, S.FETCHING)
            held.arrived()
            yard.registry.delete("iris", "")
        failed(yard, deployment, "DELETED", "Register it again to have it served")
        assert is_live(yard)
