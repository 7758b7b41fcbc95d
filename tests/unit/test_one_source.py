"""One repository is one source, however an event or a person spells its URL."""

import pytest

from pushserve_server.deploy.register import register
from pushserve_server.deploy.remote_asks import RemoteAsks
from pushserve_server.errors import SourceRefused
from pushserve_server.settings import Settings, SourceRule
from pushserve_server.source.remote import RemoteRefs
from tests.fixtures.registry import MAIN, POSTGRES_LATER, sha

SSH = "git@github.com:acme/iris.git"
HTTPS = "https://github.com/acme/iris.git"
REFS = RemoteRefs(MAIN, {MAIN: sha("b"), "refs/tags/v1": sha("c")}, {sha("d"): sha("c")})

pytestmark = POSTGRES_LATER


@pytest.fixture
def asked():
    return []


@pytest.fixture
def registering(registry, asked):
    """Registers a source; gives the one that the deployment is of."""

    def ask(url):
        asked.append(url)
        return REFS

    asks = RemoteAsks(ask)

    def registered(source, *listed, refs=(), paths=(), **more):
        listed = listed or ("https://github.com/**",)
        rules = tuple(SourceRule(url=url, refs=refs, paths=paths) for url in listed)
        settings = Settings(sources=rules)
        return register(registry, settings, source=source, asks=asks, **more)[0]

    return registered


@pytest.mark.parametrize(
    "spelling",
    [
        "https://github.com/acme/iris",
        "https://github.com/Acme/Iris.git",
        "https://user:secret@GitHub.com:443/acme/iris/",
        "ssh://git@github.com/acme/iris.git",
        "ssh://git@github.com:22/Acme/iris",
        "git@github.com:ACME/iris",
        "http://github.com/acme/iris",
    ],
)
def test_an_event_finds_the_model_that_is_read_by_ssh(steps, registering, asked, spelling):
    steps.live(source=SSH)
    deployment = registering(spelling, "git@github.com:acme/*", "https://github.com/**")
    assert (SSH, sha("b")) == (deployment.source, deployment.commit)
    assert [SSH] == asked


def test_what_failed_first_keeps_its_spelling(registering):
    first = registering(HTTPS)
    assert (first.name, HTTPS) == (registering(SSH).name, first.source)


def test_a_first_push_is_read_as_the_operator_has_listed_it(registering, asked):
    assert SSH == registering("https://github.com/acme/iris.git", "git@github.com:acme/*").source
    assert [SSH] == asked


def test_another_repository_is_another_source(steps, registering):
    steps.live(source=HTTPS)
    for other in ("https://github.com/acme/iris2", "https://github.com/beta/iris"):
        assert other == registering(other).source
    with pytest.raises(SourceRefused):
        registering("https://git.example/acme/iris", "https://github.com/**")


def test_an_annotated_tags_own_id_is_its_commits(registering):
    assert sha("c") == registering(HTTPS, commit=sha("d")).commit


@pytest.mark.parametrize(
    ("refs", "ref"),
    [
        (("release/*",), "main"),
        (("!main",), ""),
        (("*", "!tags/*"), "v1"),
        (("heads/*",), "refs/tags/v1"),
        (("*", "!refs/heads/m*"), "main"),
    ],
)
def test_refs_that_the_operator_leaves_out(registry, registering, refs, ref):
    with pytest.raises(
        SourceRefused, match="the operator's list of sources says refs = "
    ) as caught:
        registering(HTTPS, refs=refs, ref=ref)
    assert "REF_NOT_DEPLOYED" == caught.value.code_reason
    assert [] == registry.list_deployments(limit=1)


@pytest.mark.parametrize("refs", [("main",), ("!dependabot/*",), ("release/*", "m*"), ("heads/*",)])
def test_refs_that_pass(registering, refs):
    assert sha("b") == registering(HTTPS, refs=refs).commit


def test_a_ref_that_is_gone_is_retired_whatever_the_globs_say(steps, registering):
    steps.live(source=HTTPS)
    steps.live(sha("e"), "refs/heads/old", source=HTTPS)
    gone = registering(HTTPS, refs=("main",), ref="old")
    assert ("refs/heads/old", "") == (gone.ref, gone.commit)


def test_folders(steps, registering):
    """A push tells of all folders: those that the operator leaves out disturb no other."""
    steps.live(source=HTTPS, path="models/iris")
    steps.live(source=HTTPS, path="drafts/rose", model="rose")
    assert "models/iris" == registering(HTTPS, paths=("models/*",)).path
    for path, paths in (("drafts/rose", ("models/*",)), ("drafts/rose", ("!drafts/*",))):
        with pytest.raises(SourceRefused, match=f"{path} of .* paths = ") as caught:
            registering(HTTPS, paths=paths, path=path)
        assert "PATH_NOT_DEPLOYED" == caught.value.code_reason
    with pytest.raises(SourceRefused, match="the root of"):
        registering("https://github.com/acme/new", paths=("models/*",))
    assert "" == registering("https://github.com/acme/new", paths=(".", "models/*")).path
