"""A branch or tag is an endpoint, a commit is a version."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures import models
from tests.fixtures.git_server import GitHost, Repo
from tests.fixtures.github import deliver, push_event
from tests.fixtures.served import Served, start, stop, until

ROW = [[5.1, 3.5, 1.4, 0.2]]
S = pb.DeploymentState


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hub: GitHost) -> Iterator[Served]:
    """A server that forgets quickly what nobody calls; it looks at Git by itself once a minute."""
    sources = f'[[sources]]\nurl = "{hub.address}/**"\ntrust = "code"\n'
    settings = {"idle_unload": 2, "frontends": 1}
    server = start(tmp_path_factory.mktemp("server"), sources, settings)
    yield server
    stop(server)


@pytest.fixture(scope="module")
def webhook(served: Served) -> str:
    return served.webhook()


@pytest.fixture
def repo(hub: GitHost, request: pytest.FixtureRequest) -> Repo:
    """A repository with "v1" on main, not served yet; named like the test."""
    repo = hub.create(request.node.name.removeprefix("test_").replace("_", "-")[:50].rstrip("-"))
    repo.commit(models.answering_files("v1"))
    return repo


def name_of(repo: Repo) -> str:
    return repo.path.name.removesuffix(".git")


def answer(served: Served, repo: Repo, **target: object) -> tuple[int, str]:
    """The version that answers, and the tag of the model in it."""
    reply = served.predict(name_of(repo), ROW, **target)
    return reply.version, reply.outputs[0].strings.values[0].partition("-")[0]


def shown(served: Served, repo: Repo) -> pb.Model:
    return served.stub.Get(pb.GetRequest(model=name_of(repo)), timeout=10).model


def refs(served: Served, repo: Repo) -> dict[str, int]:
    return {ref.name: ref.version for ref in shown(served, repo).refs}


def test_two_branches_at_the_same_time(served: Served, repo: Repo, webhook: str):
    served.ready(repo.url, ref="main")
    repo.commit(models.answering_files("trial"), branch="trial")
    _, started = deliver(webhook, push_event(repo, "refs/heads/trial"))
    assert S.DEPLOYMENT_STATE_READY == served.follow(started["deployment"]).state

    assert (1, "v1") == answer(served, repo, ref="main")
    assert (2, "trial") == answer(served, repo, ref="trial")
    assert (1, "v1") == answer(served, repo)
    assert "refs/heads/main" == shown(served, repo).default_ref


@pytest.mark.parametrize(
    "annotated",
    [pytest.param(False, id="light", marks=pytest.mark.long), pytest.param(True, id="annotated")],
)
def test_a_tag(served: Served, hub: GitHost, annotated: bool):
    """An annotated tag's own object is none of a version's commits."""
    repo = hub.create(f"tagged-{annotated}".lower())
    repo.commit(models.answering_files("v1"))
    commit = repo.tag("stable", annotated=annotated)
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    deployment = served.ready(repo.url, ref="refs/tags/stable")
    assert commit == deployment.commit
    assert "v1" == answer(served, repo, ref="stable")[1]
    assert "v1" == answer(served, repo, ref="refs/tags/stable")[1]
    assert "v2" == answer(served, repo)[1]
    # As `list` and `get` show it, so every method takes it.
    name, ref = name_of(repo), "tags/stable"
    assert "v1" == answer(served, repo, ref=ref)[1]
    got = served.stub.Get(pb.GetRequest(model=name, ref=ref), timeout=10)
    assert commit == got.version.commit
    pinned = served.stub.Pin(pb.PinRequest(model=name, ref=ref, commit=commit[:7]), timeout=20)
    assert "refs/tags/stable" == pinned.ref.name
    served.stub.Unpin(pb.UnpinRequest(model=name, ref=ref), timeout=20)
    assert commit == served.ready(repo.url, ref=ref).commit
    # The tag's own id is that of its commit: no third version.
    assert commit == served.ready(repo.url, commit=repo.git("rev-parse", ref)).commit
    served.stub.Delete(pb.DeleteRequest(model=name, ref=ref), timeout=20)
    assert ["refs/heads/main"] == list(refs(served, repo))


def test_old_versions_by_number_and_commit(served: Served, repo: Repo):
    """They are loaded when somebody asks, and unloaded when nobody does."""
    first = repo.git("rev-parse", "main")
    served.ready(repo.url)
    second = repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    old_is_gone = "stopped the worker of " + name_of(repo) + " v1"
    until(lambda: old_is_gone in served.log.read_text())

    assert (1, "v1") == answer(served, repo, version=1)
    assert (1, "v1") == answer(served, repo, commit=first)
    assert (1, "v1") == answer(served, repo, commit=first[:7])
    assert (1, "v1") == answer(served, repo, commit=first[:12].upper())
    assert (2, "v2") == answer(served, repo, commit=second[:10])
    assert (2, "v2") == answer(served, repo)
    until(lambda: served.log.read_text().count(old_is_gone) == 2)
    assert (1, "v1") == answer(served, repo, version=1)


def test_a_forced_push_and_one_back(served: Served, repo: Repo, webhook: str):
    """A commit that was built once is the same version when a ref comes back to it."""
    first = repo.git("rev-parse", "main")
    served.ready(repo.url)
    repo.force(models.answering_files("forced"))
    deliver(webhook, push_event(repo))
    until(lambda: (2, "forced") == answer(served, repo))
    repo.set_ref("refs/heads/main", first)
    deliver(webhook, push_event(repo))
    until(lambda: (1, "v1") == answer(served, repo))
    assert (2, "forced") == answer(served, repo, version=2)


def test_a_deleted_branch_is_served_no_more(served: Served, repo: Repo, webhook: str):
    served.ready(repo.url)
    repo.commit(models.answering_files("trial"), branch="trial")
    served.ready(repo.url, ref="trial")
    repo.delete_ref("refs/heads/trial")
    status, started = deliver(webhook, push_event(repo, "refs/heads/trial", after="0" * 40))
    assert 202 == status
    assert S.DEPLOYMENT_STATE_READY == served.follow(started["deployment"]).state

    wait_until_gone(served, repo, ref="trial")
    assert (1, "v1") == answer(served, repo)
    assert (2, "trial") == answer(served, repo, version=2)


@pytest.mark.long
def test_a_bare_commit_moves_no_ref(served: Served, repo: Repo):
    first = repo.git("rev-parse", "main")
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    deployment = served.ready(repo.url, commit=first)
    assert ("", 2) == (deployment.ref, deployment.version)
    assert (2, "v1") == answer(served, repo, commit=first)
    assert (1, "v2") == answer(served, repo)


def test_registering_twice_is_one_deployment(served: Served, repo: Repo, webhook: str):
    """While it is under way, and when it is done; by call and by event."""
    request = pb.RegisterRequest(source=repo.url, ref="main")
    replies = [served.stub.Register(request, timeout=20) for _ in range(3)]
    assert [True, False, False] == [reply.created for reply in replies]
    assert 1 == len({reply.deployment.name for reply in replies})
    name = replies[0].deployment.name
    served.follow(name)
    for ref in ("main", "refs/heads/main", ""):
        again = served.stub.Register(pb.RegisterRequest(source=repo.url, ref=ref), timeout=20)
        assert (name, False) == (again.deployment.name, again.created)
    assert name == deliver(webhook, push_event(repo))[1]["deployment"]


def test_late_doubled_and_lying_events(served: Served, repo: Repo, webhook: str):
    """An event is a hint: which commit it names does not matter, Git is asked."""
    first = repo.git("rev-parse", "main")
    served.ready(repo.url)
    second = repo.commit(models.answering_files("v2"))
    for after in (second, first, "f" * 40, first, second):
        status, started = deliver(webhook, push_event(repo, after=after))
        assert 202 == status
        assert second == served.follow(started["deployment"]).commit
        assert (2, "v2") == answer(served, repo)
    assert 2 == len(deployments(served, model=name_of(repo)))


def test_a_burst_of_pushes_ends_with_the_last(served: Served, repo: Repo, webhook: str):
    """Those in between are superseded, or live for a moment; the last one stays."""
    started = []
    for number in range(2, 5):
        last = repo.commit(models.answering_files(f"v{number}"))
        started.append(deliver(webhook, push_event(repo))[1]["deployment"])
    ended = [served.follow(name) for name in started]
    assert (S.DEPLOYMENT_STATE_READY, last) == (ended[-1].state, ended[-1].commit)
    assert "v4" == answer(served, repo)[1]
    for deployment in ended[:-1]:
        assert deployment.state in (S.DEPLOYMENT_STATE_READY, S.DEPLOYMENT_STATE_SUPERSEDED)
        superseded = deployment.state == S.DEPLOYMENT_STATE_SUPERSEDED
        assert superseded == (deployment.superseded_by in started)


@pytest.mark.long
def test_retry_after_a_failure(served: Served, hub: GitHost):
    repo = hub.create("retried")
    repo.commit({"README": "no model"})
    failed = served.register(repo.url)
    assert S.DEPLOYMENT_STATE_FAILED == failed.state
    again = served.stub.Register(pb.RegisterRequest(source=repo.url), timeout=20)
    assert (failed.name, False) == (again.deployment.name, again.created)
    tried = served.stub.Register(pb.RegisterRequest(source=repo.url, retry=True), timeout=20)
    assert tried.created
    assert "ARTIFACT_MISSING" == served.follow(tried.deployment.name).error.reason
    repo.commit(models.answering_files("v1"))
    served.ready(repo.url)
    assert (1, "v1") == answer(served, repo)


def test_pin_holds_while_pushes_build(served: Served, repo: Repo):
    served.ready(repo.url)
    ref = served.stub.Pin(pb.PinRequest(model=name_of(repo)), timeout=10).ref
    assert (1, True) == (ref.version, ref.pinned)
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    ref = shown(served, repo).refs[0]
    assert (1, True, 2) == (ref.version, ref.pinned, ref.latest_version)
    assert (1, "v1") == answer(served, repo)

    ref = served.stub.Unpin(pb.UnpinRequest(model=name_of(repo)), timeout=10).ref
    assert (2, False) == (ref.version, ref.pinned)
    until(lambda: (2, "v2") == answer(served, repo))


@pytest.mark.long
def test_pin_by_commit_to_an_unloaded_version(served: Served, repo: Repo):
    first = repo.git("rev-parse", "main")
    served.ready(repo.url)
    repo.commit(models.answering_files("v2"))
    served.ready(repo.url)
    until(lambda: f"stopped the worker of {name_of(repo)} v1" in served.log.read_text())
    served.stub.Pin(pb.PinRequest(model=name_of(repo), ref="main", commit=first[:8]), timeout=10)
    until(lambda: (1, "v1") == answer(served, repo))


def test_delete_a_ref_and_a_model(served: Served, repo: Repo):
    served.ready(repo.url)
    repo.commit(models.answering_files("trial"), branch="trial")
    served.ready(repo.url, ref="trial")

    reply = served.stub.Delete(pb.DeleteRequest(model=name_of(repo), ref="trial"), timeout=10)
    assert ["refs/heads/trial"] == list(reply.refs)
    until(lambda: {"refs/heads/main": 1} == refs(served, repo))
    wait_until_gone(served, repo, ref="trial")
    assert (1, "v1") == answer(served, repo)

    reply = served.stub.Delete(pb.DeleteRequest(model=name_of(repo)), timeout=10)
    assert ["refs/heads/main"] == list(reply.refs)
    wait_until_gone(served, repo)
    with pytest.raises(grpc.RpcError) as caught:
        shown(served, repo)
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()

    served.ready(repo.url)
    assert "v1" == answer(served, repo)[1]


def wait_until_gone(served: Served, repo: Repo, **target: object) -> None:
    def gone() -> bool:
        try:
            answer(served, repo, **target)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return True
            raise
        return False

    until(gone)


def test_folders_are_models_of_their_own(served: Served, hub: GitHost, webhook: str):
    """One event is for every folder of the repository that is served."""
    repo = hub.create("folders")
    for folder in ("red", "blue"):
        repo.commit(
            {f"models/{folder}/model.joblib": models.answering_files(folder)["model.joblib"]}
        )
    for folder in ("red", "blue"):
        deployment = served.ready(repo.url, path=f"models/{folder}")
        assert (folder, f"models/{folder}") == (deployment.model, deployment.path)
    second = models.answering_files("second")["model.joblib"]
    repo.commit({"models/red/model.joblib": second, "models/blue/model.joblib": second})
    assert 202 == deliver(webhook, push_event(repo))[0]
    for folder in ("red", "blue"):
        until(lambda folder=folder: 2 == served.predict(folder, ROW).version)


def test_a_name_belongs_to_one_folder(served: Served, hub: GitHost, repo: Repo):
    served.ready(repo.url)
    other = hub.create("usurper")
    other.commit(models.answering_files("v1"))
    with pytest.raises(grpc.RpcError) as caught:
        served.register(other.url, model=name_of(repo))
    assert grpc.StatusCode.ALREADY_EXISTS == caught.value.code()
    with pytest.raises(grpc.RpcError) as caught:
        served.register(repo.url, model="another-name")
    assert grpc.StatusCode.FAILED_PRECONDITION == caught.value.code()


def test_what_cannot_be_registered(served: Served, repo: Repo, hub: GitHost):
    for wanted, said in (
        ({"source": repo.url, "ref": "nowhere"}, "main"),
        ({"source": hub.url("no-such-repository")}, "no-such-repository"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            served.register(**wanted)
        assert grpc.StatusCode.NOT_FOUND == caught.value.code()
        assert said in caught.value.details()


def listed(served: Served, **more: object) -> list[str]:
    """All names of List, two a page."""
    names: list[str] = []
    token = ""
    while True:
        reply = served.stub.List(pb.ListRequest(page_size=2, page_token=token, **more), timeout=10)
        assert len(reply.models) <= 2
        names += [model.name for model in reply.models]
        token = reply.next_page_token
        if not token:
            return names


def test_list_pages_and_filters(served: Served, hub: GitHost):
    for number in range(3):
        repo = hub.create(f"listed-{number}")
        repo.commit(models.answering_files("v1"))
        served.ready(repo.url)
    wanted = [f"listed-{number}" for number in range(3)]
    assert wanted == listed(served, name_prefix="listed-")
    assert ["listed-1"] == listed(served, source=hub.url("listed-1"))
    assert [] == listed(served, name_prefix="listed_")
    everything = listed(served)
    assert sorted(everything) == everything
    assert set(wanted) <= set(everything)


def deployments(served: Served, **more: object) -> list[pb.Deployment]:
    """All of ListDeployments, three a page."""
    found: list[pb.Deployment] = []
    token = ""
    while True:
        reply = served.stub.ListDeployments(
            pb.ListDeploymentsRequest(page_size=3, page_token=token, **more), timeout=10
        )
        found += reply.deployments
        token = reply.next_page_token
        if not token:
            return found


@pytest.mark.long
def test_deployments_page_and_filter(served: Served, repo: Repo):
    served.ready(repo.url)
    for number in range(2, 4):
        repo.commit(models.answering_files(f"v{number}"))
        served.ready(repo.url)
    repo.commit({"model.joblib": b"broken"})
    served.failed(repo.url)
    name = name_of(repo)
    assert [0, 3, 2, 1] == [found.version for found in deployments(served, model=name)]
    assert 4 == len(deployments(served, model=name, ref="main"))
    assert [] == deployments(served, model=name, ref="trial")
    failed = deployments(served, model=name, state=S.DEPLOYMENT_STATE_FAILED)
    assert ["ARTIFACT_UNREADABLE"] == [found.error.reason for found in failed]
    assert [3, 2, 1] == [v.number for v in versions(served, name)]


def versions(served: Served, name: str) -> list[pb.Version]:
    return list(served.stub.Get(pb.GetRequest(model=name), timeout=10).versions)


def test_watching_shows_every_stage_in_order(served: Served, repo: Repo):
    reply = served.stub.Register(pb.RegisterRequest(source=repo.url), timeout=20)
    watched = [
        message.deployment
        for message in served.stub.WatchDeployment(
            pb.WatchDeploymentRequest(name=reply.deployment.name), timeout=60
        )
    ]
    states = [deployment.state for deployment in watched]
    assert sorted(states) == states
    assert S.DEPLOYMENT_STATE_READY == states[-1]
    stages = list(dict.fromkeys(event.state for event in watched[-1].events))
    assert list(range(S.DEPLOYMENT_STATE_QUEUED, S.DEPLOYMENT_STATE_READY + 1)) == stages
    times = [event.time.ToNanoseconds() for event in watched[-1].events]
    assert sorted(times) == times
    gone_already = list(
        served.stub.WatchDeployment(pb.WatchDeploymentRequest(name=watched[-1].name), timeout=10)
    )
    assert [watched[-1]] == [message.deployment for message in gone_already]


@pytest.mark.slow
@pytest.mark.long
def test_a_lost_event_is_healed(tmp_path: Path, hub: GitHost):
    """Nobody tells the server of the second push, nor of the branch that goes."""
    repo = hub.create("healed")
    repo.commit(models.answering_files("v1"))
    repo.commit(models.answering_files("trial"), branch="trial")
    sources = f'[[sources]]\nurl = "{hub.address}/**"\ntrust = "code"\n'
    server = start(tmp_path / "server", sources, {"reconcile_interval": 0.3, "frontends": 1})
    try:
        server.ready(repo.url)
        server.ready(repo.url, ref="trial")
        repo.commit(models.answering_files("v2"))
        repo.delete_ref("refs/heads/trial")
        until(lambda: "v2" == answer(server, repo)[1])
        wait_until_gone(server, repo, ref="trial")
    finally:
        stop(server)
