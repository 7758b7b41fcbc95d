"""Asking real remotes where their refs point."""

import threading
import time
from pathlib import Path

import pytest

from pushserve_server.errors import BadInput, DeploymentFailed, Unavailable
from pushserve_server.source.command import Budget, Cancelled, git_output
from pushserve_server.source.failures import explained
from pushserve_server.source.remote import RefReader, RemoteRefs, list_refs, resolve
from tests.fixtures.git_server import GitHost, Repo

NEVER = threading.Event()


def look(url: str, timeout: float = 30) -> RemoteRefs:
    return list_refs(url, timeout=timeout, cancelled=NEVER)


@pytest.fixture
def repo(git_host: GitHost) -> Repo:
    """A repository with one commit."""
    repo = git_host.create("acme/iris")
    repo.commit({"a.txt": "a"})
    return repo


def nothing_runs_with(text: str) -> bool:
    """Whether all processes with `text` in their command line end."""
    deadline = time.monotonic() + 10
    while children_with(text) and time.monotonic() < deadline:
        NEVER.wait(0.01)
    return not children_with(text)


def children_with(text: str) -> set[int]:
    """Processes of the machine whose command line holds `text`, but for those that ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (path / "cmdline").read_bytes():
                found.add(int(path.name))
        except OSError:
            continue
    return found


def test_branches_and_tags_are_listed(repo: Repo) -> None:
    """The same over HTTP and file://; annotated tags are peeled, other refs left out."""
    first = repo.git("rev-parse", "main")
    second = repo.commit({"a.txt": "b"}, branch="feature/x")
    repo.tag("v1")
    repo.tag("v2", "feature/x", annotated=True)
    repo.set_ref("refs/pull/1/head", first)
    expected = RemoteRefs(
        "refs/heads/main",
        {
            "refs/heads/main": first,
            "refs/heads/feature/x": second,
            "refs/tags/v1": first,
            "refs/tags/v2": second,
        },
        {repo.git("rev-parse", "refs/tags/v2"): second},
    )
    assert expected == look(repo.url)
    assert expected == look(repo.file_url)


def test_a_moved_and_a_deleted_branch_are_seen(repo: Repo) -> None:
    moved = repo.force({"b.txt": "b"})
    assert {"refs/heads/main": moved} == look(repo.url).refs
    repo.delete_ref("refs/heads/main")
    assert RemoteRefs(None, {}) == look(repo.url)


def test_an_empty_repository_has_no_refs(git_host: GitHost) -> None:
    assert RemoteRefs(None, {}) == look(git_host.create("empty").url)


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        ("refs/heads/main", "main"),
        ("refs/heads/main", "refs/heads/main"),
        ("refs/heads/main", "heads/main"),
        ("refs/heads/main", "HEAD"),
        ("refs/heads/both", "both"),
        ("refs/tags/both", "tags/both"),
        ("refs/tags/v1", "v1"),
        (None, "refs/pull/1/head"),
        (None, "--upload-pack=touch"),
        (None, ""),
        (None, "nothing"),
    ],
)
def test_names_are_resolved(expected: str | None, name: str) -> None:
    """Full and short ones, branches before tags."""
    full = ("refs/heads/main", "refs/heads/both", "refs/tags/both", "refs/tags/v1")
    refs = {ref: f"{number:040x}" for number, ref in enumerate(full)}
    found = resolve(RemoteRefs("refs/heads/main", refs), name)
    assert ((expected, refs[expected]) if expected else None) == found


def test_a_lying_remote_gives_no_refs() -> None:
    """Lines that are not git's form are left out."""
    output = b"ref: refs/heads/gone\tHEAD\nxyz\trefs/heads/a\n\xff\n" + b"1" * 40 + b"\trefs/x/a\n"
    reader = RefReader()
    reader.feed(output)
    assert RemoteRefs(None, {}) == reader.refs()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_may_not_be_read(git_host: GitHost, repo: Repo, status: int) -> None:
    git_host.status = status
    with pytest.raises(DeploymentFailed) as caught:
        look(repo.url)
    assert "REPOSITORY_NOT_FOUND" == caught.value.reason
    assert "deploy key" in caught.value.fix


def test_a_repository_that_is_missing(git_host: GitHost) -> None:
    for url in (git_host.url("none"), "file:///nonexistent/none"):
        with pytest.raises(DeploymentFailed, match=f"REPOSITORY_NOT_FOUND: {url} cannot be read"):
            look(url)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_remote_in_trouble_is_tried_again(git_host: GitHost, repo: Repo, status: int) -> None:
    git_host.status = status
    with pytest.raises(Unavailable, match=f"returned error: {status}") as caught:
        look(repo.url)
    assert "REMOTE_UNREACHABLE" == caught.value.code_reason


def test_nobody_listens(git_host: GitHost) -> None:
    with pytest.raises(Unavailable, match="cannot be reached: fatal: unable to access"):
        look("http://127.0.0.1:1/iris")


def test_a_redirect_is_not_followed(git_host: GitHost, repo: Repo) -> None:
    """It may lead to a repository that the operator did not list."""
    git_host.location = git_host.address
    with pytest.raises(DeploymentFailed, match="redirects to another address"):
        look(repo.url)
    assert 1 == len(git_host.requests)


def test_secrets_are_in_no_message(git_host: GitHost) -> None:
    """Neither of the URL given nor of one that git repeats."""
    url = git_host.url("none").replace("http://", "http://ada:hunter2@")
    with pytest.raises(DeploymentFailed) as caught:
        look(url)
    assert "hunter2" not in str(caught.value) + caught.value.fix
    assert "none.git" in str(caught.value)


@pytest.mark.parametrize("url", ["--upload-pack=touch x", "ext::sh -c true", "fd::0"])
def test_options_and_other_transports_never_reach_git(url: str) -> None:
    with pytest.raises(BadInput):
        look(url)


def test_a_timeout_kills_git_and_its_children(git_host: GitHost, repo: Repo) -> None:
    with git_host.hold(), pytest.raises(Unavailable, match="did not answer in time"):
        look(repo.url, timeout=0.3)
    assert nothing_runs_with(repo.url)


def test_cancelling_kills_git_and_its_children(git_host: GitHost, repo: Repo) -> None:
    cancelled = threading.Event()
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            list_refs(repo.url, timeout=60, cancelled=cancelled)
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    with git_host.hold() as held:
        thread.start()
        held.arrived()
        running = children_with(repo.url)
        cancelled.set()
        thread.join(10)
        assert 2 <= len(running)  # git and its HTTP helper
        assert nothing_runs_with(repo.url)
    assert 1 == len(raised)


def test_git_sees_neither_our_environment_nor_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's secrets stay with it, and nobody's insteadOf leads elsewhere."""
    (tmp_path / ".gitconfig").write_text("[alias]\n\tenvironment = !env\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "alias.environment")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "!env")
    budget = Budget(time.monotonic() + 30, NEVER)
    config = git_output(["config", "--list"], budget).decode()
    assert "alias.environment" not in config
    shown = git_output(["-c", "alias.environment=!env", "environment"], budget).decode()
    assert "GIT_TERMINAL_PROMPT=0" in shown
    assert "hunter2" not in shown
    assert "GIT_CONFIG_COUNT" not in shown


def test_errors_of_others_pass_unchanged() -> None:
    error = ValueError("x")
    assert error is explained(error, "https://h/x")
