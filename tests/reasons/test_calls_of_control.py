"""Reasons of the calls beside Predict: what is wrong, and the call that the text asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures.git_server import GitHost
from tests.fixtures.served import Served
from tests.reasons.push_case import good_model
from tests.reasons.test_calls import refused

GOOD = {"model.joblib": good_model()}


def register(served: Served, source: str, **more: str) -> pb.Deployment:
    request = pb.RegisterRequest(source=source, **more)
    return served.stub.Register(request, timeout=20).deployment


@contextmanager
def silent(hub: GitHost) -> Iterator[None]:
    """Let the host answer nothing but errors."""
    hub.status = 503
    try:
        yield
    finally:
        hub.status = 0


@pytest.mark.reason("BAD_PAGE")
def test_the_token_as_it_came(served: Served):
    bad = pb.ListRequest(page_token="%%%")
    code, reason, text = refused(lambda: served.stub.List(bad, timeout=20))
    assert ("INVALID_ARGUMENT", "BAD_PAGE") == (code, reason)
    assert "next_page_token" in text
    page = served.stub.List(pb.ListRequest(page_size=1), timeout=20)
    served.stub.List(pb.ListRequest(page_token=page.next_page_token), timeout=20)


@pytest.mark.reason("BAD_SOURCE_URL")
@pytest.mark.parametrize("source", ["code-iris", "ftp://h/iris.git", "C:\\models\\iris"])
def test_a_source_in_one_of_the_forms_that_are_listed(served: Served, hub: GitHost, source: str):
    code, reason, text = refused(lambda: register(served, source))
    assert ("INVALID_ARGUMENT", "BAD_SOURCE_URL") == (code, reason)
    assert "https://" in text
    repo = hub.create(f"spelt-{len(source)}")
    repo.force(GOOD)
    assert register(served, repo.url).name


@pytest.mark.reason("BAD_INPUT")
def test_a_ref_that_is_none(served: Served, hub: GitHost):
    repo = hub.create("spelt-ref")
    repo.force(GOOD)
    code, reason, text = refused(lambda: register(served, repo.url, ref="a..b"))
    assert ("INVALID_ARGUMENT", "BAD_INPUT") == (code, reason)
    assert 'such as "main"' in text
    assert register(served, repo.url, ref="main").name


@pytest.mark.reason("SOURCE_NOT_FOUND")
def test_a_repository_that_there_is_not(served: Served, hub: GitHost):
    code, reason, text = refused(lambda: register(served, hub.url("spelt-wrongly")))
    assert ("NOT_FOUND", "SOURCE_NOT_FOUND") == (code, reason)
    assert "Check the URL's spelling" in text
    repo = hub.create("spelt-rightly")
    repo.force(GOOD)
    served.ready(repo.url)


@pytest.mark.reason("REF_NOT_FOUND")
def test_a_branch_of_the_repository_that_is_listed(served: Served, hub: GitHost):
    repo = hub.create("one-branch")
    repo.force(GOOD)
    code, reason, text = refused(lambda: register(served, repo.url, ref="mian"))
    assert ("NOT_FOUND", "REF_NOT_FOUND") == (code, reason)
    assert "Did you mean 'main'?" in text
    served.ready(repo.url, ref="main")


@pytest.mark.reason("DEPLOYMENT_NOT_FOUND")
def test_a_deployment_that_is_listed(served: Served, hub: GitHost):
    repo = hub.create("listed")
    repo.force(GOOD)
    name = register(served, repo.url).name
    wrong = pb.GetDeploymentRequest(name=name[:-1])
    code, reason, text = refused(lambda: served.stub.GetDeployment(wrong, timeout=20))
    assert ("NOT_FOUND", "DEPLOYMENT_NOT_FOUND") == (code, reason)
    assert "ListDeployments" in text
    listed = served.stub.ListDeployments(pb.ListDeploymentsRequest(), timeout=20).deployments
    found = pb.GetDeploymentRequest(name=listed[0].name)
    assert served.stub.GetDeployment(found, timeout=20).deployment.name == listed[0].name


@pytest.mark.reason("MODEL_NAME_TAKEN", "MODEL_RENAMED")
def test_a_name_that_is_free(served: Served, hub: GitHost):
    first, second = hub.create("call-taking"), hub.create("call-taken")
    first.force(GOOD)
    second.force(GOOD)
    served.ready(first.url)
    code, reason, text = refused(lambda: register(served, second.url, model="call-taking"))
    assert ("ALREADY_EXISTS", "MODEL_NAME_TAKEN") == (code, reason)
    assert "choose another name" in text
    served.ready(second.url, model="call-free")
    code, reason, text = refused(lambda: register(served, second.url, model="call-other"))
    assert ("FAILED_PRECONDITION", "MODEL_RENAMED") == (code, reason)
    assert "served as 'call-free'; register it under that name" in text
    served.ready(second.url, model="call-free", retry=True)


@pytest.mark.reason("REMOTE_UNREACHABLE")
def test_a_host_that_is_silent(served: Served, hub: GitHost):
    repo = hub.create("silent")
    repo.force(GOOD)
    with silent(hub):
        code, reason, text = refused(lambda: register(served, repo.url))
        assert ("UNAVAILABLE", "REMOTE_UNREACHABLE") == (code, reason)
        assert "name a ref" in text
        deployment = register(served, repo.url, ref="main")
    assert pb.DEPLOYMENT_STATE_READY == served.follow(deployment.name).state


@pytest.mark.reason("UNIMPLEMENTED")
def test_a_method_that_there_is(served: Served):
    train = served.channel.unary_unary("/pushserve.v1.ModelService/Train")
    code, reason, _ = refused(lambda: train(b"", timeout=20))
    assert ("UNIMPLEMENTED", "UNIMPLEMENTED") == (code, reason)
    served.stub.List(pb.ListRequest(), timeout=20)
